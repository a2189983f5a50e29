"""A client that has not sent a whole head yet costs little, and has the bounds of any other."""

import asyncio
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress

import pytest

from polka.edge import newcomers
from polka.edge.bounds import Bounds, Reason
from polka.edge.gate import LEFT_MAX, Gate
from polka.edge.patience import LINGER_SECONDS
from raw import request
from served import Served, client, counted, problem_in, request_id, serving, until

pytestmark = pytest.mark.anyio
HEAD = b"GET / HTTP/1.1\r\nHost: polka\r\n"
SECOND = request("GET", "/second")


class Entrant:
    """Enters a gate, and counts how often the gate looks at it."""

    is_slow = False

    def __init__(self, name: str, ended: list[str]) -> None:
        self.looks = 0
        self._name = name
        self._ended = ended
        self._is_new = True

    @property
    def is_new(self) -> bool:
        self.looks += 1
        return self._is_new

    def leave(self) -> None:
        self._is_new = False

    def cut_off(self, _: float) -> None:
        self._ended.append(self._name)
        self._is_new = False

    give_way = abort = leave


async def newcomer(served: Served, has_sent: Callable[[int], bool] = lambda held: True) -> None:
    """Wait until there is one that has sent so much."""
    await until(lambda: any(one.is_new and has_sent(one.held_bytes) for one in served.state.connections))  # type: ignore[union-attr]


def test_the_gate_looks_at_no_newcomer_behind_the_first_that_has_time_left() -> None:
    """Ten thousand silent clients must not cost a look each, again and again."""
    gate, ended = Gate(Bounds(head_timeout_seconds=10)), list[str]()
    entrants = [Entrant(str(second), ended) for second in range(9)]
    for second, one in enumerate(entrants):
        assert gate.enter(one, None, float(second)) is None
    for second in range(1, 10):
        gate.cut_off_newcomers(float(second))
    assert not ended
    assert [one.looks for one in entrants[1:]] == [0] * 8
    gate.cut_off_newcomers(12.5)
    assert ended == ["0", "1", "2"]
    assert [one.looks for one in entrants[4:]] == [0] * 5


def test_each_newcomer_has_its_whole_time_whatever_the_process_stalled() -> None:
    gate, ended = Gate(Bounds(head_timeout_seconds=10)), list[str]()
    for name, now in (("before", 0.0), ("left", 1.0), ("stayed", 2.0)):
        one = Entrant(name, ended)
        gate.enter(one, None, now)
        if name == "left":
            one.leave()
    gate.cut_off_newcomers(60.0, stalled_seconds=55.0)
    gate.enter(Entrant("after", ended), None, 61.0)
    assert not ended
    gate.cut_off_newcomers(66.0)
    assert ended == ["before"]
    gate.cut_off_newcomers(68.0)
    assert ended == ["before", "stayed"]
    gate.cut_off_newcomers(70.9)
    assert ended == ["before", "stayed"]
    gate.cut_off_newcomers(71.0)
    assert ended == ["before", "stayed", "after"]


@pytest.mark.parametrize("silent", [1, 1_500])
def test_newcomers_that_left_are_not_kept_behind_one_that_stays(silent: int) -> None:
    """However fast clients come and go, the gate holds few of them, and looks at each only now and then."""
    gate, entrants = Gate(Bounds()), weakref.WeakSet[Entrant]()
    stayed = [Entrant("stayed", []) for _ in range(silent)]
    for one in stayed:
        gate.enter(one, None, 0.0)
    for second in range(10_000):
        one = Entrant("left", [])
        entrants.add(one)
        gate.enter(one, None, second / 10_000)
        one.leave()
        gate.leave(None)
        assert len(entrants) <= silent + LEFT_MAX + 2
    assert sum(one.looks for one in stayed) <= 10_000
    gate.cut_off_newcomers(60.0)
    assert not any(one.is_new for one in stayed)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 20, len(HEAD), len(HEAD) + 1])
async def test_a_client_has_no_parser_before_its_head_is_whole(size: int) -> None:
    head = HEAD + b"\r\n"
    async with serving() as served, client(served) as one:
        await one.send(head[:size])
        await newcomer(served, lambda held: held == size or size < newcomers.HEAD_BYTES_MIN)
        await one.send(head[size:] + SECOND)
        assert [await one.status() for _ in range(2)] == [204] * 2
        assert not [found for found in served.state.connections if found.is_new]  # type: ignore[union-attr]
        assert [path for path, _, _ in served.seen] == ["/", "/second"]


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels keep nothing")
async def test_a_client_of_few_bytes_wakes_nobody() -> None:
    async with serving() as served, client(served) as one, client(served) as other:
        for byte in HEAD[: newcomers.HEAD_BYTES_MIN - 1]:
            await one.send(bytes([byte]))
        await other.send(SECOND)
        assert await other.status() == 204
        assert [found.held_bytes for found in served.state.connections if found.is_new] == [0]  # type: ignore[union-attr]
        await one.send(HEAD[newcomers.HEAD_BYTES_MIN - 1 :])
        await newcomer(served, lambda held: held == len(HEAD))


@pytest.mark.parametrize("head", [HEAD + b"\r\n", b"GET / HTTP/1.0\r\n\r\n"])
async def test_a_head_may_come_byte_by_byte(head: bytes) -> None:
    async with serving() as served, client(served) as one, client(served) as other:
        for byte in head:
            await one.send(bytes([byte]))
            await other.send(SECOND)
            assert await other.status() == 204
        assert await one.status() == 204


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02", b"get / HT", b" ", b"QUIT\r\n"])
async def test_a_few_bytes_of_something_else_are_refused_in_the_end(sent: bytes) -> None:
    async with serving(head_timeout_seconds=5) as served, client(served) as one:
        await one.send(sent)
        await newcomer(served)
        served.sweep(4.5)
        assert any(found.is_new for found in served.state.connections)  # type: ignore[union-attr]
        served.sweep(6)
        assert problem_in(await one.ends()) == (400, "malformed")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),  # how a client of HTTPS begins
        b"get / HTTP/1.1\r\n",
        b" " * 16,
        b"GET / HTTP/1.1\nHost: polka\n\n",
        b"GET / HTTP/1.1\n\n",
        b"\r\n\0" + b"x" * 13,
    ],
)
async def test_what_no_head_begins_with_is_refused_at_once(sent: bytes) -> None:
    """A client of HTTPS, for example, hears at once that this is no port for it."""
    before = counted(Reason.MALFORMED)
    async with serving() as served, client(served) as one:
        await one.send(sent)
        assert problem_in(await one.ends()) == (400, "malformed")
    assert counted(Reason.MALFORMED) == before + 1


async def test_a_long_part_of_a_head_has_no_more_time_than_a_short_one() -> None:
    """It goes to a connection with a parser, whose time began when the client came."""
    async with serving(head_timeout_seconds=5) as served, client(served) as one:
        await newcomer(served)
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        await one.send(HEAD + b"X: " + b"y" * newcomers.HELD_BYTES_MAX)
        await until(lambda: all(not found.is_new for found in served.state.connections))  # type: ignore[union-attr]
        served.sweep(began + 4.9 - asyncio.get_running_loop().time())
        assert problem_in(await one.ends()) == (408, "slow")


async def test_time_in_which_the_process_did_not_run_makes_no_long_head_late() -> None:
    async with serving(head_timeout_seconds=5) as served, client(served) as one:
        await newcomer(served)
        served.sweep(7, stalled_seconds=6)
        await one.send(HEAD + b"X: " + b"y" * newcomers.HELD_BYTES_MAX)
        await until(lambda: all(not found.is_new for found in served.state.connections))  # type: ignore[union-attr]
        served.sweep(10.5)
        await one.send(b"\r\n\r\n")
        assert await one.status() == 204


@pytest.mark.parametrize(("sent", "is_own"), [(HEAD + b"X-Request-ID: mine\r\nX: y", True), (b"GET / HTTP/1.1", False)])
async def test_a_late_head_is_answered_with_the_id_that_it_names(sent: bytes, is_own: bool) -> None:
    before = counted(Reason.HEAD_TIMEOUT)
    async with serving(head_timeout_seconds=5) as served, client(served) as one:
        await one.send(sent)
        await newcomer(served, lambda held: held == len(sent) or len(sent) < newcomers.HEAD_BYTES_MIN)
        served.sweep(6)
        answer = await one.ends()
        assert problem_in(answer) == (408, "slow")
        assert (request_id(answer.partition(b"\r\n\r\n")[0]) == "mine") is is_own
    assert counted(Reason.HEAD_TIMEOUT) == before + 1


@pytest.mark.parametrize("sent", [b"GET / HT", HEAD])
async def test_a_late_client_has_time_to_read_why_its_connection_ends(sent: bytes) -> None:
    """Also one that is still sending. Then the connection ends, whatever the client does."""
    async with serving(head_timeout_seconds=5) as served, client(served) as one:
        await one.send(sent)
        await newcomer(served, lambda held: held == len(sent) or len(sent) < newcomers.HEAD_BYTES_MIN)
        served.sweep(6)
        await asyncio.sleep(0)
        await one.send(b"X: y\r\n\r\n", SECOND)
        assert problem_in(await one.ends()) == (408, "slow")
        assert served.state.connections
        served.sweep(6 + LINGER_SECONDS + 0.5)
        served.sweep(6 + 2 * LINGER_SECONDS + 1)
        await until(lambda: not served.state.connections)
        assert not served.seen


async def test_a_late_client_makes_room_for_a_new_one() -> None:
    before = counted(Reason.EVICTED)
    async with serving(head_timeout_seconds=5, connections_max=1) as served, client(served) as late:
        await late.send(b"GET / HT")
        await newcomer(served)
        served.sweep(6)
        async with client(served) as new:
            await new.send(SECOND)
            assert await new.status() == 204
    assert counted(Reason.EVICTED) == before + 1


@pytest.mark.parametrize("leaving_max", [0, 1, 128])
async def test_a_newcomer_that_made_room_is_closed_soon_and_served_no_more(
    monkeypatch: pytest.MonkeyPatch, leaving_max: int
) -> None:
    """A client that comes again as soon as it is closed then pushes out few others. Few are open beside the others."""
    monkeypatch.setattr(newcomers, "LEAVING_MAX", leaving_max)
    before = counted(Reason.EVICTED)
    async with serving(connections_max=2) as served, client(served) as first, client(served) as second:
        await until(lambda: len(served.state.connections) == 2)
        async with client(served) as third, client(served) as fourth:
            for new in (third, fourth):
                await new.send(SECOND)
                assert await new.status() == 204
            assert counted(Reason.EVICTED) == before + 2
            await until(lambda: len(served.state.connections) == 2 + min(2, leaving_max))
            for evicted in (first, second):
                await evicted.send(SECOND)
                with suppress(ConnectionResetError, BrokenPipeError):
                    assert await evicted.ends() == b""
            assert len(served.seen) == 2
            for kept in (third, fourth):
                await kept.send(SECOND)
                assert await kept.status() == 204
            assert len(served.state.connections) == 2
            async with client(served) as fifth:
                assert problem_in(await fifth.ends()) == (503, "overloaded")
    await until(lambda: not served.state.connections)
    assert counted(Reason.EVICTED) == before + 2


async def test_few_newcomers_that_made_room_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newcomers, "LEAVING_MAX", 1)
    monkeypatch.setattr(newcomers, "LEAVING_SECONDS", 3600.0)
    async with serving(connections_max=2) as served, client(served), client(served) as second:
        await until(lambda: len(served.state.connections) == 2)
        async with client(served), client(served):
            with suppress(ConnectionResetError):
                assert await second.ends() == b""
            await until(lambda: len(served.state.connections) == 3)


async def test_newcomers_leave_no_trace() -> None:
    """Whether they leave by themselves, are cut off, make room, or become connections."""
    async with serving(head_timeout_seconds=5, connections_max=3, connections_per_address_max=3) as served:
        for _ in range(4):
            async with client(served) as silent, client(served), client(served) as good:
                await until(lambda: len(served.state.connections) == 3)
                await good.send(SECOND)
                assert await good.status() == 204
                served.sweep(6)
                with suppress(ConnectionResetError):
                    assert await silent.ends() == b""
            await until(lambda: not served.state.connections)
