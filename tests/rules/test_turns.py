"""Turns of bulk requests: how many of a bank are under way, who is next, and that no turn is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from api.http.problems import RefusedError
from api.http.refusals import Refusal
from api.routes.requests import Head, now
from api.routes.turns import UNDER_WAY_MAX, Turns
from polka.rules.keys import Caller

pytestmark = pytest.mark.anyio


def head(bank: str, seconds: float = 120) -> Head:
    return Head(Caller("1", bank, frozenset()), None, now() + seconds)


async def rounds(number: int = 20) -> None:
    """Let all who can go on do so."""
    for _ in range(number):
        await asyncio.sleep(0)


@asynccontextmanager
async def held(turns: Turns, bank: str = "somebody") -> AsyncIterator[None]:
    """For the block nobody else has the turn, and those who come wait."""
    async with turns.turn(head(bank)):
        yield


async def test_a_bank_has_some_requests_under_way_and_others_of_it_wait() -> None:
    turns = Turns()
    let_go, under_way = asyncio.Event(), 0

    async def request(bank: str) -> None:
        nonlocal under_way
        async with turns.place(head(bank)):
            under_way += 1
            await let_go.wait()
            under_way -= 1

    flood = [asyncio.create_task(request("flood")) for _ in range(20)]
    await rounds()
    assert under_way == UNDER_WAY_MAX
    other = asyncio.create_task(request("other"))
    await rounds()
    assert under_way == UNDER_WAY_MAX + 1
    let_go.set()
    await asyncio.gather(other, *flood)
    assert turns._places == {}, "memory is that of banks that have requests"


async def test_banks_take_turns_however_many_requests_one_has() -> None:
    turns, order = Turns(), []

    async def request(bank: str) -> None:
        async with turns.turn(head(bank)):
            order.append(bank)

    async with held(turns):
        flood = [asyncio.create_task(request("flood")) for _ in range(20)]
        await rounds()
        others = [asyncio.create_task(request(bank)) for bank in ("b", "c", "b")]
        await rounds()
        assert order == []
    await asyncio.gather(*flood, *others)
    assert sorted(order[:3]) == ["b", "c", "flood"]
    assert order[3:5] in (["flood", "b"], ["b", "flood"])
    assert len(order) == 23


async def test_whose_time_is_up_has_no_turn_and_takes_nobodys() -> None:
    turns, done = Turns(), []

    async def request(bank: str) -> None:
        async with turns.turn(head(bank)):
            done.append(bank)

    async with held(turns):
        with pytest.raises(RefusedError) as told:
            async with turns.turn(head("impatient", 0.01)):
                pytest.fail("it is somebody else's turn")
        assert told.value.refused.refusal is Refusal.TIMEOUT
        patient = asyncio.create_task(request("patient"))
        await rounds()
    await patient
    assert done == ["patient"]


async def test_a_turn_that_comes_when_its_request_is_cancelled_goes_to_the_next() -> None:
    turns, done = Turns(), []

    async def request(bank: str) -> None:
        async with turns.turn(head(bank)):
            done.append(bank)

    stack = AsyncExitStack()
    await stack.enter_async_context(held(turns))
    leaving, staying = asyncio.create_task(request("a")), asyncio.create_task(request("b"))
    await rounds()
    turns._pass_on()  # as the pause's timer does, in the same round in which the server gives the request up
    leaving.cancel()
    await asyncio.wait([leaving, staying])
    assert leaving.cancelled()
    assert done == ["b"]
    await stack.aclose()
    await asyncio.wait_for(request("c"), 120)


async def test_a_place_whose_request_fails_is_free_again() -> None:
    turns = Turns()
    for _ in range(3 * UNDER_WAY_MAX):
        with pytest.raises(ZeroDivisionError):
            async with turns.place(head("a")), turns.turn(head("a")):
                raise ZeroDivisionError
    async with AsyncExitStack() as stack:
        for _ in range(UNDER_WAY_MAX):
            await stack.enter_async_context(turns.place(head("a")))
        with pytest.raises(RefusedError):
            await stack.enter_async_context(turns.place(head("a", 0.01)))
    assert turns._places == {}
