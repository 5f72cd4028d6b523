"""A small web service in Python: an incoming handler of wasi:http 0.2. Bodies are passed on as they come and are never held whole.

GET /hello greets, POST /echo gives the body back, POST /sum tells its length."""

from collections.abc import Iterable, Iterator

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


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        status, body = answer(request)
        headers = Fields.from_list([("content-type", b"application/octet-stream")])
        response = OutgoingResponse(headers)
        response.set_status_code(status)
        outgoing = response.body()
        # The head goes out before the body has come in.
        ResponseOutparam.set(response_out, Ok(response))
        with outgoing.write() as stream:
            for chunk in body:
                send(stream, chunk)
        OutgoingBody.finish(outgoing, None)


def answer(request: IncomingRequest) -> tuple[int, Iterable[bytes]]:
    """The status, and the body in pieces."""
    path = (request.path_with_query() or "/").partition("?")[0]
    match request.method(), path:
        case Method_Get(), "/hello":
            return 200, [b"hello from Python\n"]
        case Method_Post(), "/echo":
            return 200, chunks(request)
        case Method_Post(), "/sum":
            return 200, [b"%d\n" % sum(map(len, chunks(request)))]
        case _:
            return 404, [b"there is GET /hello, POST /echo and POST /sum\n"]


def chunks(request: IncomingRequest) -> Iterator[bytes]:
    """The body, as it comes."""
    with request.consume() as body, body.stream() as stream:
        try:
            while True:
                yield stream.blocking_read(64 * 1024)
        except Err as error:
            if not isinstance(error.value, StreamError_Closed):
                raise


def send(stream: OutputStream, data: bytes) -> None:
    """Writes all of it, as the stream has room."""
    while data:
        with stream.subscribe() as writable:
            writable.block()
        room = stream.check_write()
        stream.write(data[:room])
        data = data[room:]
