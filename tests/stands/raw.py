"""Requests as bytes over plain sockets, including requests that no HTTP library would send."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse

import httpx

from services import CACHE_TOKEN, KEY, Service
from waiting import WAIT_SECONDS


class Raw:
    """A connection. Each request's answer is read as HTTP, in the order of the requests."""

    def __init__(self, url: str) -> None:
        port = httpx.URL(url).port
        self.socket = socket.create_connection(("127.0.0.1", port or 0), timeout=WAIT_SECONDS)

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer.

        Raises:
            ConnectionError: no answer came.
        """
        response = HTTPResponse(Unbuffered(self.socket), method=method)  # type: ignore[arg-type]
        response.begin()
        body = b""
        while part := response.read(1 << 16):  # without a buffer each read returns the arrived bytes
            body += part
        return response.status, {name.lower(): value for name, value in response.getheaders()}, body

    def status(self) -> int:
        return self.answer()[0]

    def ends(self) -> bytes:
        """All remaining bytes until the server closes the connection."""
        rest = b""
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return rest
            if not data:
                return rest
            rest += data


class Unbuffered:
    """A socket for `HTTPResponse` that reads no byte beyond the answer."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    def makefile(self, _: str) -> object:
        return self._socket.makefile("rb", buffering=0)


@contextmanager
def deaf(port: int) -> Iterator[socket.socket]:
    """A connection that reads nothing, with a small buffer in the kernel."""
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect(("127.0.0.1", port))
        yield opened


def request(method: str, path: str, *headers: str, body: bytes = b"", host: str | None = "polka") -> bytes:
    """A request with these header lines, without the length of a body."""
    lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def with_length(method: str, path: str, *headers: str, body: bytes) -> bytes:
    return request(method, path, *headers, f"Content-Length: {len(body)}", body=body)


def chunked(parts: Iterable[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """A body in chunks, for `Transfer-Encoding: chunked`."""
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return chunks + b"0\r\n" + trailers + b"\r\n"


def alive(target: Service) -> bytes:
    """A request with the answer 200."""
    if target.name == "api":
        return request("GET", "/hello")
    return request("GET", "/balance/bank1", authorized(target))


def authorized(target: Service) -> str:
    """The header line with the key or token of the service."""
    return f"Authorization: Bearer {KEY if target.name == 'api' else CACHE_TOKEN}"
