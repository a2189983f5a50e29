"""The fast way to the cache, for reads and for the calls of each batch: HTTP/1.1 by httptools over kept connections.

A call takes 25 microseconds of processor time; httpx takes 600 or more. Only repeatable calls go this way. If the cache
closes a kept connection before an answer, the call is repeated over a new connection.
"""

import asyncio
import ssl
import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httptools
import httpx

ANSWER_BYTES_MAX = 16 << 20
"""More than the refusals of the largest batch."""

Headers = Iterable[tuple[bytes, bytes]]


def fields(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


class Reply(NamedTuple):
    """The part of httpx's response that callers need."""

    status_code: int
    content: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code < 300


class Line(asyncio.Protocol):
    """One connection, with one call at a time."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._answer: asyncio.Future[Reply] | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._bytes_left = 0
        self.is_open = False
        self.has_heard = False
        """Whether any byte of the answer was received."""

    async def call(self, request: bytes) -> Reply:
        """Send the request, and return its answer.

        Raises:
            httpx.ReadError: the connection has ended.
            httpx.RemoteProtocolError: the answer is invalid.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body, self._bytes_left, self.has_heard = [], ANSWER_BYTES_MAX, False
        self._transport.write(request)
        try:
            return await self._answer
        except BaseException:
            self.close()
            raise
        finally:
            self._answer = self._parser = None

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        self._fail(httpx.ReadError(f"the connection has ended: {exc}" if exc else "the connection has ended"))

    def data_received(self, data: bytes) -> None:
        self.has_heard = True
        self._bytes_left -= len(data)
        if self._parser is None:  # no call is in flight
            self.close()
        elif self._bytes_left < 0:
            self._fail(httpx.RemoteProtocolError("the answer is too large"))
        else:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                self._fail(httpx.RemoteProtocolError(str(error)))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser, answer = self._parser, self._answer
        if parser.get_status_code() < 200:  # the real answer follows
            return
        self.is_open = self.is_open and parser.should_keep_alive()
        if answer is not None and not answer.done():
            answer.set_result(Reply(parser.get_status_code(), b"".join(self._body)))

    def _fail(self, error: httpx.HTTPError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Wire:
    """Connections to the cache: one for each concurrent call. The number of concurrent reads is limited, and others
    wait.

    The calls of batches do not wait for reads. A process has at most four such calls at once.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        seconds: float,
        connect_seconds: float,
        encryption: ssl.SSLContext | None,
        reads_max: int,
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if encryption else 80)
        self._encryption = encryption
        self._seconds = seconds
        self._connect_seconds = connect_seconds
        bearer = f"authorization: Bearer {token}\r\n" if token else ""
        self._prefix = parts.path.rstrip("/").encode()
        self._rest = f" HTTP/1.1\r\nhost: {parts.netloc}\r\n{bearer}".encode()
        self._kept: list[Line] = []
        self._reads = asyncio.Semaphore(reads_max)

    async def post(self, path: bytes, content: bytes, headers: Headers = ()) -> Reply:
        """The cache's answer.

        Raises:
            httpx.HTTPError: no valid answer in time.
        """
        of_body = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(content)
        request = b"".join((b"POST ", self._prefix, path, self._rest, of_body, fields(headers), b"\r\n", content))
        return await self._send(request, self._seconds)

    async def get(self, path: bytes, headers: Headers = (), seconds: float | None = None) -> Reply:
        """The cache's answer within `seconds`, or within the limit of all calls.

        Raises:
            httpx.HTTPError: no valid answer in time, or too many reads.
        """
        patience = self._seconds if seconds is None else seconds
        request = b"".join((b"GET ", self._prefix, path, self._rest, fields(headers), b"\r\n"))
        began = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                await self._reads.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("too many read") from None
        try:
            return await self._send(request, began + patience - time.monotonic())
        finally:
            self._reads.release()

    async def _send(self, request: bytes, seconds: float) -> Reply:
        while self._kept:
            line = self._kept.pop()
            if not line.is_open:
                continue
            try:
                return await self._call(line, request, seconds)
            except httpx.ReadError:
                if line.has_heard:
                    raise
        return await self._call(await self._connect(), request, seconds)

    async def _call(self, line: Line, request: bytes, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                reply = await line.call(request)
        except TimeoutError:
            raise httpx.ReadTimeout("no answer in time") from None
        if line.is_open:
            self._kept.append(line)
        else:
            line.close()
        return reply

    async def _connect(self) -> Line:
        loop = asyncio.get_running_loop()
        name = self._host if self._encryption else None
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, line = await loop.create_connection(
                    Line, self._host, self._port, ssl=self._encryption, server_hostname=name
                )
        except TimeoutError:
            raise httpx.ConnectTimeout("no connection in time") from None
        except (OSError, ssl.SSLError) as error:
            raise httpx.ConnectError(str(error)) from error
        return line

    def close(self) -> None:
        while self._kept:
            self._kept.pop().close()
