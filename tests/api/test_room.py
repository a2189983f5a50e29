"""How many connections a server has room for, in all and of one address, and which make room for new ones.

The server runs in the test with an app that says what it saw.
"""

import asyncio
from contextlib import suppress

import pytest

from polka.edge.bounds import Reason
from polka.edge.gate import neighbourhood
from raw import request
from served import client, counted, problem_in, serving, until

pytestmark = pytest.mark.anyio
SECOND = request("GET", "/second")


@pytest.mark.parametrize(
    ("sent", "reads_bodies"),
    [
        (request("POST", "/?timeout=5m", "Content-Length: 3", body=b"ab"), False),
        (request("POST", "/?timeout=5m", "Content-Length: 3", body=b"ab"), True),
        (SECOND + b"GET / HTTP/1.1\r\nHost: po", True),
    ],
    ids=["half a body, answered", "half a body", "half a second head"],
)
async def test_a_connection_that_owes_a_part_of_a_request_makes_room_for_a_new_one(
    sent: bytes, reads_bodies: bool
) -> None:
    before = counted(Reason.EVICTED)
    async with serving(connections_max=1) as served, client(served) as slow:
        served.reads_bodies = reads_bodies
        await slow.send(sent)
        await until(lambda: any(served.cycles()))
        async with client(served) as refused:
            assert problem_in(await refused.ends()) == (503, "overloaded")
        await asyncio.sleep(0.05)
        served.sweep()
        async with client(served) as new:
            await new.send(SECOND)
            assert await new.status() == 204
    assert counted(Reason.EVICTED) == before + 1


async def test_an_idle_connection_makes_room_before_a_slow_one() -> None:
    async with serving(connections_max=2) as served, client(served) as slow, client(served) as idle:
        await slow.send(request("POST", "/", "Content-Length: 3", body=b"ab"))
        await idle.send(SECOND)
        assert await idle.status() == 204
        await until(lambda: all(served.cycles()))
        served.sweep()
        async with client(served) as new:
            await new.send(SECOND)
            assert await new.status() == 204
        await slow.send(b"c")
        assert await slow.status() == 204


async def test_one_address_has_so_many_connections() -> None:
    before = counted(Reason.ADDRESS)
    async with serving(connections_per_address_max=2) as served, client(served) as one, client(served) as two:
        for each in (one, two):
            await each.send(SECOND)
            assert await each.status() == 204
        async with client(served) as three:
            assert problem_in(await three.ends()) == (503, "overloaded")
        assert counted(Reason.ADDRESS) == before + 1
        one.writer.close()
        await until(lambda: len(served.state.connections) == 1)
        async with client(served) as three:
            await three.send(SECOND)
            assert await three.status() == 204


async def test_all_addresses_together_have_so_many_connections() -> None:
    async with (
        serving(connections_max=2, connections_per_address_max=0) as served,
        client(served) as one,
        client(served) as two,
    ):
        for each in (one, two):
            await each.send(SECOND)
            assert await each.status() == 204
        async with client(served) as three:
            assert problem_in(await three.ends()) == (503, "overloaded")


async def test_a_connection_without_a_request_makes_room_for_a_new_one() -> None:
    before = counted(Reason.EVICTED)
    async with serving(connections_max=2) as served, client(served) as busy:
        await busy.send(SECOND)
        assert await busy.status() == 204
        async with client(served) as silent:
            await until(lambda: len(served.state.connections) == 2)
            async with client(served) as new:
                await new.send(SECOND)
                assert await new.status() == 204
            with suppress(ConnectionResetError):
                assert await silent.ends() == b""
        await busy.send(SECOND)
        assert await busy.status() == 204
    assert counted(Reason.EVICTED) == before + 1


async def test_a_connection_that_asks_no_more_makes_room_for_a_new_one() -> None:
    before = counted(Reason.EVICTED)
    async with serving(connections_max=2) as served, client(served) as idle, client(served) as busy:
        for one in (idle, busy):
            await one.send(SECOND)
            assert await one.status() == 204
        served.sweep()
        await busy.send(SECOND)
        assert await busy.status() == 204
        async with client(served) as new:
            await new.send(SECOND)
            assert await new.status() == 204
            with suppress(ConnectionResetError):
                assert await idle.ends() == b""
            async with client(served) as refused:  # all three have asked since the sweep
                assert problem_in(await refused.ends()) == (503, "overloaded")
        await busy.send(SECOND)
        assert await busy.status() == 204
    assert counted(Reason.EVICTED) == before + 1


def test_an_ipv6_client_counts_by_its_network() -> None:
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1") != neighbourhood("2001:db8:0:1::1")
    assert neighbourhood("::ffff:10.1.2.3") == "10.1.2.3" == neighbourhood("10.1.2.3")
    assert neighbourhood(None) is None
