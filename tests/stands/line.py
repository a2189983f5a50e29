"""A kept connection to an api that sends a request at once and reads only the status of its answer.

It takes a tenth of the processor time of a client library, for tests that send thousands of requests.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from services import KEY

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
LAST = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


class Line:
    """Requests on it follow each other. After the api has closed a connection, the next request opens another."""

    def __init__(self, url: str) -> None:
        self._port = httpx.URL(url).port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def status(self, method: str, path: str, body: bytes = b"") -> int:
        """The status of the answer to this request of the operator's."""
        if self._ends and self._ends[0].at_eof():  # it was open for its time
            await self.close()
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        head = f"{method} {path} HTTP/1.1\r\nHost: polka\r\nAuthorization: Bearer {KEY}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if length := LENGTH.search(answer):
            await reader.readexactly(int(length[1]))
        if LAST.search(answer):
            await self.close()
        return int(answer[len("HTTP/1.1 ") :][:3])

    async def close(self) -> None:
        if self._ends:
            _, writer = self._ends
            self._ends = None
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Line]:
    line = Line(url)
    try:
        yield line
    finally:
        await line.close()
