"""HTTP clients that send head and body of a request in one piece, like plain payments without ASGI.

httpx and http.client send head and body separately, so most of their payments go to the app.
"""

import contextlib
import http.client
from typing import Any

import httpcore
import httpx

LIMITS: Any = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 5.0}
"""The limits of httpx."""


class Stream(httpcore.NetworkStream):
    """Sends all written bytes before reading an answer."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._unsent: list[bytes] = []

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent.append(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if unsent := b"".join(self._unsent):
            self._unsent.clear()
            with contextlib.suppress(httpcore.WriteError):  # the answer may have come before
                self._stream.write(unsent, timeout)
        return self._stream.read(max_bytes, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **kwargs: Any) -> "Stream":
        return Stream(self._stream.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class Network(httpcore.SyncBackend):
    def connect_tcp(self, *args: Any, **kwargs: Any) -> Stream:
        return Stream(super().connect_tcp(*args, **kwargs))


class AsyncStream(httpcore.AsyncNetworkStream):
    """`Stream` for asyncio."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._unsent: list[bytes] = []

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent.append(buffer)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if unsent := b"".join(self._unsent):
            self._unsent.clear()
            with contextlib.suppress(httpcore.WriteError):
                await self._stream.write(unsent, timeout)
        return await self._stream.read(max_bytes, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> "AsyncStream":
        return AsyncStream(await self._stream.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class AsyncNetwork(httpcore.AnyIOBackend):
    async def connect_tcp(self, *args: Any, **kwargs: Any) -> AsyncStream:
        return AsyncStream(await super().connect_tcp(*args, **kwargs))


class Connection(http.client.HTTPConnection):
    """Like http.client's, for `request` and `getresponse`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent: list[bytes] = []

    def send(self, data: Any) -> None:
        self._unsent.append(data)

    def getresponse(self) -> http.client.HTTPResponse:
        unsent = b"".join(self._unsent)
        self._unsent.clear()
        super().send(unsent)
        return super().getresponse()


class Transport(httpx.HTTPTransport):
    """For `httpx.Client(transport=...)`."""

    def __init__(self) -> None:
        super().__init__(verify=False, trust_env=False)
        self._pool = httpcore.ConnectionPool(self._pool._ssl_context, network_backend=Network(), **LIMITS)


class AsyncTransport(httpx.AsyncHTTPTransport):
    """For `httpx.AsyncClient(transport=...)`."""

    def __init__(self) -> None:
        super().__init__(verify=False, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(self._pool._ssl_context, network_backend=AsyncNetwork(), **LIMITS)
