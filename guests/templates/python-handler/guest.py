"""Sends back what it receives. The host calls `handle` with the connection, once in the life of an instance."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.connection import Connection
from wit_world.imports.streams import StreamError_Closed


class Handler(exports.Handler):
    def handle(self, connection: Connection) -> None:
        with connection.input() as received, connection.output() as sent:
            try:
                # The host passes the bytes on. To look at them: received.blocking_read, sent.blocking_write_and_flush.
                while True:
                    sent.blocking_splice(received, 64 * 1024)
            except Err as error:
                # The client has ended its direction; anything else is a failure.
                if not isinstance(error.value, StreamError_Closed):
                    raise
