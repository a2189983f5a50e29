"""A client of a TLS port has the bounds of a plain one from its first moment, not only once its handshake is done."""

import asyncio
import ssl

import pytest
import trustme

from polka.edge.bounds import Reason
from polka.edge.newcomers import Newcomer
from raw import request, with_length
from served import Client, Served, client, counted, serving, until

pytestmark = pytest.mark.anyio
CA = trustme.CA()
FIRST_BYTES = b"\x16\x03\x01\x02\x00\x01"
"""The beginning of a handshake."""


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def encryption() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trust() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    return context


async def shaking_hands(served: Served, number: int) -> None:
    await until(lambda: len(served.state.connections) == number)


async def assert_serves(served: Served, trust: ssl.SSLContext) -> None:
    async with client(served, trust) as good:
        await good.send(with_length("POST", "/", body=b"x" * 50_000) + request("GET", "/second"))
        assert (await good.status(), await good.status()) == (204, 204)


async def test_connections_are_served_and_leave_no_trace(encryption: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    async with serving(encryption, connections_max=1) as served:
        for _ in range(3):
            await assert_serves(served, trust)
            await until(lambda: not served.state.connections)
        assert [len(body) for _, body, _ in served.seen] == [50_000, 0] * 3


@pytest.mark.parametrize("sent", [b"", FIRST_BYTES])
async def test_a_handshake_that_is_not_done_in_time_is_cut_off_and_counted(
    encryption: ssl.SSLContext, sent: bytes
) -> None:
    before = counted(Reason.HANDSHAKE)
    async with serving(encryption, head_timeout_seconds=5) as served, client(served) as one:
        await one.send(sent)
        await shaking_hands(served, 1)
        for seconds, stalled_seconds in ((0, 0), (4.5, 0), (9, 5)):
            served.sweep(seconds, stalled_seconds)
        assert counted(Reason.HANDSHAKE) == before
        served.sweep(10.5)
        assert await ends(one) == b""
        await shaking_hands(served, 0)
    assert counted(Reason.HANDSHAKE) == before + 1


async def test_a_late_head_is_not_read_as_it_was_encrypted(encryption: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """It arrived in the very moment in which its time was over."""
    late, malformed = counted(Reason.HEAD_TIMEOUT), counted(Reason.MALFORMED)
    async with serving(encryption, head_timeout_seconds=5) as served, client(served, trust) as one:
        await until(lambda: any(isinstance(found, Newcomer) for found in served.state.connections))
        one.writer.write(b"GET / HT")
        served.sweep(6)
        await ends(one)
    assert (counted(Reason.HEAD_TIMEOUT), counted(Reason.MALFORMED)) == (late + 1, malformed)


async def test_handshakes_are_among_the_connections_that_one_address_may_have(
    encryption: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    before = counted(Reason.ADDRESS)
    async with serving(encryption, connections_per_address_max=2) as served:
        async with client(served), client(served):
            await shaking_hands(served, 2)
            async with client(served) as three:
                await three.send(FIRST_BYTES)
                assert await ends(three) == b""
        assert counted(Reason.ADDRESS) == before + 1
        await shaking_hands(served, 0)
        await assert_serves(served, trust)


async def ends(one: Client) -> bytes:
    try:
        return await one.ends()
    except ConnectionResetError:
        return b""


async def test_a_handshake_makes_room_for_a_new_connection(encryption: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    before = counted(Reason.EVICTED)
    async with serving(encryption, connections_max=1) as served, client(served) as silent:
        await shaking_hands(served, 1)
        await assert_serves(served, trust)
        assert await ends(silent) == b""
    assert counted(Reason.EVICTED) == before + 1


async def test_what_is_no_handshake_is_refused_and_counted(encryption: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    before = counted(Reason.HANDSHAKE)
    async with serving(encryption, connections_max=1) as served:
        async with client(served) as plain:
            await plain.send(request("GET", "/"))
            assert b"HTTP" not in await ends(plain)
        assert counted(Reason.HANDSHAKE) == before + 1
        await assert_serves(served, trust)


async def test_whoever_only_looks_whether_the_port_is_open_is_not_counted_as_refused(
    encryption: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    before = counted(Reason.HANDSHAKE)
    async with serving(encryption, connections_max=1) as served:
        async with client(served):
            await shaking_hands(served, 1)
        await shaking_hands(served, 0)
        await assert_serves(served, trust)
    assert counted(Reason.HANDSHAKE) == before


async def test_no_handshake_holds_up_a_server_that_stops(encryption: ssl.SSLContext) -> None:
    async with serving(encryption) as served, client(served) as silent:
        await shaking_hands(served, 1)
        for connection in served.state.connections.copy():
            connection.shutdown()
        assert await ends(silent) == b""
        await asyncio.sleep(0)
        assert not served.state.connections
