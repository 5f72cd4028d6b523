"""Echo in Python, in the typed world: the host calls `handle` with the connection. componentize-py makes the module `wit_world` from
wit/bridge.wit."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.connection import Connection
from wit_world.imports.streams import StreamError_Closed


class Handler(exports.Handler):
    def handle(self, connection: Connection) -> None:
        with connection.input() as received, connection.output() as sent:
            try:
                # The host passes the bytes on: they need not come into the guest.
                while True:
                    sent.blocking_splice(received, 64 * 1024)
            except Err as error:
                # The client has ended its direction; anything else is a failure.
                if not isinstance(error.value, StreamError_Closed):
                    raise
