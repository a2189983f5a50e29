"""A publisher of exchange rates on this machine. The test decides its answer: good, late, half, or too much."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from waiting import WAIT_SECONDS

Answer = Callable[[BaseHTTPRequestHandler], None]


class Publisher:
    """`url` is the address of the document, `answer` sends the document, and `asked` has the headers of all
    requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Answer = status(404)
        self.asked: list[Mapping[str, str]] = []


@contextmanager
def publishing() -> Iterator[Publisher]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append({name.lower(): value for name, value in self.headers.items()})
            try:
                publisher.answer(self)
            except OSError:  # the client has gone
                self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    publisher = Publisher(f"http://127.0.0.1:{server.server_port}/eurofxref-daily.xml")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()


def status(code: int) -> Answer:
    """Only a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, code, 0)

    return answer


def whole(document: bytes, etag: str | None = None) -> Answer:
    """The document; 304 for requests with its tag."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if etag and handler.headers["If-None-Match"] == etag:
            head(handler, 304, 0, etag)
            return
        head(handler, 200, len(document), etag)
        handler.wfile.write(document)

    return answer


def cut_off(document: bytes) -> Answer:
    """Half of the promised document."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 200, len(document))
        handler.wfile.write(document[: len(document) // 2])

    return answer


def slow(document: bytes, released: threading.Event) -> Answer:
    """A byte every twentieth of a second: each read is answered in time, and the whole is not."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 200, len(document))
        for byte in document:
            handler.wfile.write(bytes([byte]))
            if released.wait(0.05):
                return

    return answer


def silent(released: threading.Event) -> Answer:
    """No answer, not even a head."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        released.wait(WAIT_SECONDS)

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Endless space, of unknown length."""
    head(handler, 200, None)
    while True:
        handler.wfile.write(b" " * 65_536)


def head(handler: BaseHTTPRequestHandler, code: int, length: int | None, etag: str | None = None) -> None:
    handler.send_response(code)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    if etag:
        handler.send_header("ETag", etag)
    handler.end_headers()
