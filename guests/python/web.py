"""A small web service in Python: an incoming handler of wasi:http 0.2. Bodies are passed on as they come and are never held whole.

GET /hello greets, POST /echo gives the body back, POST /sum tells its length."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import OutputStream, StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Get,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

CHUNK = 64 * 1024


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path = (request.path_with_query() or "/").partition("?")[0]
        match request.method(), path:
            case Method_Get(), "/hello":
                with answer(response_out) as out:
                    out.blocking_write_and_flush(b"hello from Python\n")
            case Method_Post(), "/echo":
                with request.consume() as body, body.stream() as received, answer(response_out) as out:
                    # The host passes the bytes on: they need not come into the guest.
                    to_the_end(lambda: out.blocking_splice(received, CHUNK))
            case Method_Post(), "/sum":
                with request.consume() as body, body.stream() as received:
                    length = to_the_end(lambda: len(received.blocking_read(CHUNK)))
                with answer(response_out) as out:
                    out.blocking_write_and_flush(b"%d\n" % length)
            case _:
                with answer(response_out, 404) as out:
                    out.blocking_write_and_flush(b"there is GET /hello, POST /echo and POST /sum\n")


@contextmanager
def answer(response_out: ResponseOutparam, status: int = 200) -> Iterator[OutputStream]:
    """Sends the head of an answer at once, and gives where its body is written."""
    response = OutgoingResponse(Fields.from_list([("content-type", b"application/octet-stream")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as out:
        yield out
    OutgoingBody.finish(body, None)


def to_the_end(step: Callable[[], int]) -> int:
    """Moves bytes until a stream has ended, and tells how many they were."""
    count = 0
    try:
        while True:
            count += step()
    except Err as error:
        if not isinstance(error.value, StreamError_Closed):
            raise
    return count
