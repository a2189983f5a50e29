"""Clients that do not read: the server holds little for each, no more for all than it may, and none stays."""

import asyncio
from contextlib import ExitStack, suppress

import pytest

from polka.edge import connections, gate
from polka.edge.bounds import Reason
from polka.edge.outgoing import PIECE_BYTES
from raw import deaf, request
from served import Served, client, counted, serving, unread, until

pytestmark = pytest.mark.anyio
LARGE = bytes(range(256)) * 4096


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("last", [b"", request("GET", "/", "Connection: close"), b"BAD\r\n\r\n"])
async def test_a_client_that_leaves_the_end_unread_does_not_keep_its_connection(last: bytes) -> None:
    """The app is not paused, because the rest is small. The connection is idle, or closed behind the answer."""
    async with serving() as served:
        served.body = b"x" * 16_000
        with deaf(served.port) as silent:
            silent.sendall(request("GET", "/"))
            await until(lambda: unread(served))
            silent.sendall(last)
            await asyncio.sleep(0.05)
            now = 0.0
            while served.state.connections:
                assert now < 200
                now += 1
                served.sweep(now)
                await asyncio.sleep(0)


def in_transports(served: Served) -> list[int]:
    """How much each connection's transport holds."""
    return [one.transport.get_write_buffer_size() for one in served.state.connections]


async def test_a_large_answer_is_copied_for_nobody_who_does_not_read_it() -> None:
    async with serving() as served:
        served.body = LARGE
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(deaf(served.port)).sendall(request("GET", "/"))
            await until(lambda: len(served.seen) == 20 and len(served.state.connections) == 20)
            await until(lambda: all(in_transports(served)))
            assert max(in_transports(served)) <= 2 * PIECE_BYTES


@pytest.mark.parametrize("last", [request("GET", "/", "Connection: close"), b"BAD\r\n\r\n"])
async def test_a_large_answer_arrives_whole_and_in_its_place(last: bytes) -> None:
    """It is chunked, which is undone here. The connection is closed behind it."""
    async with serving() as served, client(served) as one:
        served.body = LARGE
        await one.send(request("GET", "/") * 2 + last)
        await asyncio.sleep(0.1)  # it is not read meanwhile
        answers = (await one.ends()).split(b"HTTP/1.1 ")
        assert len(answers) == 4
        assert all(answer.count(LARGE) == 1 for answer in answers[1:3])
        assert answers[3].startswith(b"400" if last.startswith(b"BAD") else b"200")


async def test_no_request_is_begun_behind_the_last_answer_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that answer takes to be read."""
    monkeypatch.setattr(connections, "CONNECTION_REQUESTS_MAX", 1)
    async with serving() as served, client(served) as one:
        served.body = LARGE
        await one.send(request("GET", "/") * 2)
        await asyncio.sleep(0.1)
        assert (await one.ends()).count(LARGE) == 1
        assert len(served.seen) == 1


@pytest.mark.parametrize(
    ("begun", "end"),
    [
        (request("GET", "/")[:-2] + b"X: ", b"\r\n\r\n"),
        (request("POST", "/", "Content-Length: 60001"), b""),
    ],
    ids=["head", "body"],
)
async def test_whoever_holds_most_is_cut_off_when_all_together_hold_too_much(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, end: bytes
) -> None:
    """Whether the server still has the bytes or the app has read them."""
    monkeypatch.setattr(gate, "HELD_BYTES_MAX", 100_000)
    before = counted(Reason.MEMORY)
    async with serving() as served, client(served) as good, client(served) as small, client(served) as large:
        await good.send(request("GET", "/"))
        assert await good.status() == 204
        await small.send(begun + b"y" * 55_000)
        await large.send(begun + b"y" * 60_000)
        await until(lambda: served.read_bytes == 115_000 if not end else held_by(served) > 100_000)
        served.sweep()
        with suppress(ConnectionResetError):
            assert await large.ends() == b""
        await small.send(end or b"y" * 5_001)
        assert (await small.status(), counted(Reason.MEMORY)) == (204, before + 1)
        await good.send(request("GET", "/"))
        assert await good.status() == 204


async def test_a_body_counts_until_it_is_whole_or_answered() -> None:
    async with serving() as served, client(served) as one:
        for is_answered_early in (False, True):
            served.reads_bodies, served.read_bytes = not is_answered_early, 0
            await one.send(request("POST", "/", "Content-Length: 60000") + b"y" * 20_000)
            if is_answered_early:
                assert await one.status() == 204
            else:
                await until(lambda: served.read_bytes == 20_000)
                assert held_by(served) == 20_000
            await one.send(b"y" * 40_000)
            if not is_answered_early:
                assert await one.status() == 204
            await one.send(request("POST", "/", "Content-Length: 0"))
            assert await one.status() == 204
            assert held_by(served) == 0


def held_by(served: Served) -> int:
    return sum(one.held_bytes for one in served.state.connections)  # type: ignore[union-attr]
