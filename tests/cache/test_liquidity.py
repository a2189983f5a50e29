"""Liquidity: what Polka owes, is owed and holds, now and over time, against plain definitions."""

import random
import sys
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any

import asyncpg
import pytest

from cache.clearing import windows
from cache.ledger import flush, samples
from cache.ledger.ledger import Ledger
from cache.routes import liquidity
from committed import commit, new_id, transfer
from falsehoods import IN_LIQUIDITY, take_samples
from plain_liquidity import stored
from polka.audit import snapshot
from polka.rules.liquidity import RESOLUTIONS, Figures, Resolution, concentration, nearest
from polka.rules.policy import Agreed, Policy, Terms
from polka.store import exposures

pytestmark = pytest.mark.anyio

BANKS_MANY = 10_000


async def newest(connection: asyncpg.Connection) -> dict[tuple[str, str], Figures]:
    """By resolution and currency."""
    rows = await connection.fetch("SELECT DISTINCT currency FROM liquidity_history")
    wanted: list[tuple[Resolution, str]] = [(one, row["currency"]) for row in rows for one in RESOLUTIONS]
    return {key: sample.last for key, sample in (await exposures.newest(connection, wanted)).items()}


async def test_each_flush_samples_what_it_makes_of_the_figures(
    database_url: str, connection: asyncpg.Connection
) -> None:
    chance = random.Random(3)
    highest = dict.fromkeys(("USD", "EUR", "JPY"), 0)
    number = 0
    for window in range(1, 5):
        for _ in range(8):
            for _ in range(chance.randrange(1, 4)):
                sender, receiver = chance.sample(["bank1", "bank2", "bank3", "bank4"], 2)
                await commit(
                    connection, transfer(chance.randrange(1, 1_000), sender, receiver, chance.choice([*highest]))
                )
            number += 1
            flushed = await flush.flush(connection, 0, number, 100)
            found = await stored(connection)
            for currency, sample in flushed.liquidity.items():
                assert sample.last == found[currency]
            highest |= {currency: max(highest[currency], figures.owed) for currency, figures in found.items()}
            assert await newest(connection) == {
                (one, of): figures for of, figures in found.items() for one in RESOLUTIONS
            }
        await windows.close(connection, 0, window, number + 1, new_id())
        if window % 2:
            number += 1
            settled = await windows.settle(connection, 0, window, number, new_id())
            assert isinstance(settled, windows.Done)
            assert settled.flushed
            found = await stored(connection)
            assert {one: sample.last for one, sample in settled.flushed.liquidity.items()} == {
                one: found[one] for one in settled.flushed.liquidity
            }
    days = await connection.fetch("SELECT currency, max(highest) AS highest FROM liquidity_history GROUP BY currency")
    assert {row["currency"]: row["highest"] for row in days} == highest
    done = await snapshot.audit(database_url)
    assert done.is_clean, done.differences


async def test_a_flush_that_changes_no_figure_samples_nothing(connection: asyncpg.Connection) -> None:
    await commit(connection, transfer(100))
    assert (await flush.flush(connection, 0, 1, 100)).liquidity.keys() == {"USD"}
    await commit(connection, transfer(100, "bank1", "bank1"))
    assert (await flush.flush(connection, 0, 2, 100)).liquidity == {}
    assert await connection.fetchval("SELECT max(flush) FROM liquidity_history") == 1


async def test_what_an_older_polka_leaves_behind_is_sampled_by_a_start(
    database_url: str, connection: asyncpg.Connection
) -> None:
    for number in (1, 2):
        await commit(connection, transfer(100))
        await flush.flush(connection, 0, number, 100)
        if number == 1:
            await connection.execute("CREATE TABLE kept AS SELECT * FROM liquidity_history")
    await connection.execute("DELETE FROM liquidity_history; INSERT INTO liquidity_history SELECT * FROM kept")
    done = await snapshot.audit(database_url)
    assert done.differences["The newest figures of liquidity are those of the balances"]
    for _ in range(2):
        days = await flush.catch_up(connection, 0)
        assert days["USD"].last == Figures(200, 200, 0)
        assert days["USD"].highest.owed == 200
        assert await connection.fetchval("SELECT count(*) FROM liquidity_history WHERE resolution = 'flush'") == 2
    done = await snapshot.audit(database_url)
    assert done.is_clean, done.differences
    assert await flush.raise_epoch(connection) == 1
    with pytest.raises(flush.OutdatedError):
        await flush.catch_up(connection, 0)


@pytest.mark.parametrize(("statement", "check"), IN_LIQUIDITY.values(), ids=IN_LIQUIDITY.keys())
async def test_the_audit_finds_each_falsehood_about_liquidity(
    database_url: str, connection: asyncpg.Connection, statement: str, check: str
) -> None:
    await take_samples(connection)
    done = await snapshot.audit(database_url)
    assert done.is_clean, done.differences
    await connection.execute(statement)
    assert (await snapshot.audit(database_url)).differences[check]


async def test_samples_are_thinned_with_age_and_the_newest_stays(
    database_url: str, connection: asyncpg.Connection
) -> None:
    ages = {
        "USD": [timedelta(days=100), timedelta(days=50), timedelta(hours=5), timedelta(minutes=5)],
        "EUR": [timedelta(days=101), timedelta(days=100)],
    }
    now = await connection.fetchval("SELECT now()")
    for currency, times in ages.items():
        for number, age in enumerate(times):
            await samples.record(connection, {currency: Figures(0, 1, 0)}, now - age, number)
    await liquidity.thin(connection)
    left = {
        (resolution, currency): [
            row["owed"]
            for row in await connection.fetch(
                "SELECT owed FROM liquidity_history WHERE resolution = $1 AND currency = $2 ORDER BY start",
                *(resolution, currency),
            )
        ]
        for currency in ages
        for resolution in RESOLUTIONS
    }
    assert left == {
        ("flush", "USD"): [4],
        ("minute", "USD"): [3, 4],
        ("hour", "USD"): [2, 3, 4],
        ("day", "USD"): left["day", "USD"],
        **{(resolution, "EUR"): [2] for resolution in ("flush", "minute", "hour")},
        ("day", "EUR"): [1, 2],
    }
    assert left["day", "USD"][:2] == [1, 2]
    assert left["day", "USD"][-1] == 4


def test_ten_thousand_banks_hold_nobody_up() -> None:
    """Each step between two turns of others takes a bounded number of instructions a balance: with 10,000 banks, tens
    of milliseconds."""
    chance = random.Random(1)
    currencies = ("USD", "EUR", "JPY", "GBP")
    posted = {f"bank{n}": {one: chance.randrange(-(10**15), 10**15) for one in currencies} for n in range(BANKS_MANY)}
    ledger = Ledger(posted, 1, {})
    caps = Terms(caps=dict.fromkeys(currencies, 10**12))
    ledger.follow(Policy(1, dict.fromkeys(posted, Agreed(caps, 1, None))))
    all_balances, all_uses = ledger.balances(), ledger.uses_of_caps()
    assert [len(balances) for balances in all_balances.values()] == [BANKS_MANY] * len(currencies)
    assert instructions(ledger.balances) < 25 * BANKS_MANY * len(currencies)
    assert instructions(ledger.uses_of_caps) < 80 * BANKS_MANY * len(currencies)
    for uses, balances in zip(all_uses.values(), all_balances.values(), strict=True):
        assert instructions(nearest, uses, 10) < 30 * BANKS_MANY
        assert instructions(concentration, balances) < 30 * BANKS_MANY


def instructions(work: Callable[..., Any], *values: Any) -> int:
    """How many of Python's own the work takes."""
    count = 0

    def step(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        work(*values)
    finally:
        sys.settrace(before)
    return count
