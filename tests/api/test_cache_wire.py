"""The short way to the cache, against a server that answers as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from api import cache_wire
from api.cache_wire import Reply, Wire
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
CLOSING = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
ANSWERED = Reply(200, b"{}")

Answer = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Reads each request, and has `answer` do the rest, with the number of the connection from 1 on."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                await self._answer(number, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def saying(*parts: bytes) -> Answer:
    async def answer(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return answer


@asynccontextmanager
async def reaching(
    answer: Answer, seconds: float = WAIT_SECONDS, reads_max: int = 4
) -> AsyncIterator[tuple[Wire, Server]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    wire = Wire(f"http://127.0.0.1:{port}/prefix/", "secret", seconds, WAIT_SECONDS, None, reads_max)
    try:
        yield wire, server
    finally:
        wire.close()
        listening.close()


async def test_calls_one_after_the_other_share_a_connection_and_carry_the_token() -> None:
    async with reaching(saying(OK)) as (wire, server):
        for content in (b"[1]", b"[2]"):
            assert await wire.post(b"/balance", content, [(b"traceparent", b"00-1")]) == ANSWERED
    assert server.connections == 1
    head, _, body = server.requests[1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /prefix/balance HTTP/1.1\r\nhost: 127.0.0.1:")
    assert {b"authorization: Bearer secret", b"traceparent: 00-1", b"content-length: 3"} <= set(head.split(b"\r\n"))
    assert body == b"[2]"


async def test_a_read_has_no_body_and_shares_the_connection() -> None:
    async with reaching(saying(OK)) as (wire, server):
        await wire.post(b"/balance", b"[]")
        assert await wire.get(b"/balance?limit=1", [(b"x-request-id", b"a")]) == ANSWERED
    assert server.connections == 1
    lines = server.requests[1].split(b"\r\n")
    assert lines[0] == b"GET /prefix/balance?limit=1 HTTP/1.1"
    assert {b"authorization: Bearer secret", b"x-request-id: a"} <= set(lines)
    assert not [line for line in lines if line.startswith(b"content-")]


async def test_reads_wait_for_each_other_and_nothing_else_waits_for_them() -> None:
    may_answer = asyncio.Event()

    async def answer(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.requests[-1].startswith(b"GET"):
            await may_answer.wait()
        writer.write(OK)

    async with reaching(answer, reads_max=2) as (wire, server):
        reads = [asyncio.create_task(wire.get(b"/balance")) for _ in range(3)]
        await asyncio.sleep(0)  # all of them have begun
        with pytest.raises(httpx.PoolTimeout):
            await wire.get(b"/balance", seconds=0.05)
        assert await wire.post(b"/balance", b"[]") == ANSWERED
        assert server.connections == 3
        may_answer.set()
        assert await asyncio.gather(*reads) == [ANSWERED] * 3
    assert server.connections == 3


async def test_calls_at_once_have_a_connection_each() -> None:
    async with reaching(saying(OK)) as (wire, server):
        assert await asyncio.gather(*(wire.post(b"/balance", b"[]") for _ in range(3))) == [ANSWERED] * 3
        assert server.connections == 3
        await wire.post(b"/balance", b"[]")
    assert server.connections == 3


@pytest.mark.parametrize(
    "parts",
    [(CHUNKED,), tuple(bytes([byte]) for byte in OK), (b"HTTP/1.1 103 Early Hints\r\n\r\n", OK)],
    ids=["chunked", "byte by byte", "behind hints"],
)
async def test_an_answer_may_come_in_parts(parts: tuple[bytes, ...]) -> None:
    async with reaching(saying(*parts)) as (wire, _):
        assert await wire.post(b"/balance", b"[]") == ANSWERED


async def test_a_connection_that_the_cache_closes_behind_its_answer_is_not_used_again() -> None:
    async with reaching(saying(CLOSING)) as (wire, server):
        for _ in range(2):
            assert await wire.post(b"/balance", b"[]") == ANSWERED
    assert server.connections == 2


async def test_a_call_on_a_kept_connection_that_ends_without_an_answer_is_made_again() -> None:
    """The cache may close a connection at the moment in which it is used."""

    async def once(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number == 1 and len(server.requests) > 1:
            writer.close()
        else:
            writer.write(OK)

    async with reaching(once) as (wire, server):
        for _ in range(2):
            assert await wire.post(b"/balance", b"[]") == ANSWERED
    assert server.connections == 2
    assert len(server.requests) == 3


async def test_a_cache_that_ends_every_connection_is_asked_no_third_time() -> None:
    async def close(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with reaching(close) as (wire, server):
        with pytest.raises(httpx.ReadError):
            await wire.post(b"/balance", b"[]")
    assert len(server.requests) == 1


@pytest.mark.parametrize("part", [OK[:20], OK[:-1]], ids=["in the head", "in the body"])
async def test_an_answer_that_breaks_off_is_an_error(part: bytes) -> None:
    """The cache has begun to answer: it has done what was asked."""

    async def break_off(_: int, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK if len(server.requests) == 1 else part)
        if len(server.requests) > 1:
            writer.close()

    async with reaching(break_off) as (wire, server):
        await wire.post(b"/balance", b"[]")
        with pytest.raises(httpx.ReadError):
            await wire.post(b"/balance", b"[]")
    assert len(server.requests) == 2


async def test_what_is_no_http_is_an_error() -> None:
    async with reaching(saying(b"SSH-2.0-OpenSSH_9.9\r\n")) as (wire, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await wire.post(b"/balance", b"[]")


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_wire, "ANSWER_BYTES_MAX", len(OK) - 1)
    async with reaching(saying(OK)) as (wire, _):
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await wire.post(b"/balance", b"[]")


async def test_a_cache_that_is_silent_is_an_error_and_its_late_answer_is_nobodys() -> None:
    is_slow = asyncio.Event()

    async def answer(number: int, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            await is_slow.wait()
        writer.write(OK if number > 1 else OK.replace(b"{}", b"[]"))

    async with reaching(answer, seconds=0.05) as (wire, server), asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(httpx.ReadTimeout):
            await wire.post(b"/balance", b"[]")
        is_slow.set()
        wire._seconds = WAIT_SECONDS
        assert await wire.post(b"/balance", b"[]") == ANSWERED
    assert server.connections == 2


async def test_nobody_listens() -> None:
    async with reaching(saying(OK)) as (wire, _):
        pass
    with pytest.raises(httpx.ConnectError):
        await wire.post(b"/balance", b"[]")
