"""Liquidity: what Polka owes, is owed and holds, now and over time, against plain definitions."""

import asyncio
import math
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
from databases import execute
from exposed import page
from falsehoods import IN_LIQUIDITY, take_samples
from front_door import refused
from polka.audit import snapshot
from polka.rules.liquidity import (
    RESOLUTIONS,
    Concentration,
    Figures,
    Resolution,
    concentration,
    nearest,
)
from polka.rules.policy import Agreed, Policy, Terms
from polka.store import exposures
from proof import prove
from running import Running
from services import Services, client, payment, wait_for

pytestmark = pytest.mark.anyio

BANKS_MANY = 10_000


Balances = dict[tuple[str, str], int]


def plain(balances: Balances, settled: list[tuple[str, int]]) -> dict[str, Figures]:
    """Bank by bank; Polka's own are none of a bank. It holds what banks have settled."""
    currencies = {currency for _, currency in balances}
    return {
        currency: Figures(
            sum(max(held, 0) for (bank, of), held in balances.items() if of == currency and bank != "polka"),
            -sum(min(held, 0) for (bank, of), held in balances.items() if of == currency and bank != "polka"),
            sum(amount for of, amount in settled if of == currency),
        )
        for currency in currencies
    }


async def stored(connection: asyncpg.Connection) -> dict[str, Figures]:
    rows = await connection.fetch("SELECT * FROM balances")
    accounts = await connection.fetch("SELECT * FROM accounts WHERE bank <> 'polka' AND account = 'polka:settlement'")
    return plain(
        {(row["bank"], row["currency"]): int(row["balance"]) for row in rows},
        [(row["currency"], int(row["balance"])) for row in accounts],
    )


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


class Told:
    """A Polka, and what it tells of its liquidity."""

    def __init__(self, services: Services) -> None:
        self.database_url = services.database_url
        self.cache = services.cache(POLKA_FLUSH_SECONDS="0.05")
        self.api = services.api()
        self.cache.ready()
        self.api.ready()

    def pay(
        self, amount: int, sender: str = "bank1", receiver: str = "bank2", currency: str = "USD", **fields: Any
    ) -> None:
        """Unless that exceeds a cap."""
        body = payment(amount, sender, receiver, currency=currency, **fields)
        response = client.post(f"{self.api.url}/transaction", json=body)
        assert response.is_success or response.json()["code"] == "cap_exceeded", response.text

    def agree(self, bank: str, **terms: Any) -> None:
        client.patch(f"{self.api.url}/banks/{bank}", json=terms).raise_for_status()

    def posted(self) -> None:
        """All that was paid is."""
        unposted = "SELECT count(*) FROM batches WHERE state = 'unposted'"
        wait_for("all is posted", lambda: asyncio.run(fetchval(self.database_url, unposted)) == 0)

    def get(self, path: str = "", **params: Any) -> Any:
        return client.get(f"{self.api.url}/liquidity{path}", params=params).raise_for_status().json()

    def figures(self) -> dict[str, Figures]:
        return {one["currency"]: Figures(one["owes"], one["owed"], one["held"]) for one in self.get()["currencies"]}


async def fetchval(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def balances(url: str) -> Balances:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT * FROM balances")
        return {(row["bank"], row["currency"]): int(row["balance"]) for row in rows}
    finally:
        await connection.close()


def plain_uses(caps: dict[str, dict[str, int]], balances: Balances, currency: str) -> list[dict[str, Any]]:
    """What each bank uses of its cap, the highest share first."""
    uses: list[dict[str, Any]] = []
    for bank, cap in ((bank, of_bank[currency]) for bank, of_bank in caps.items() if currency in of_bank):
        used = max(0, -balances.get((bank, currency), 0))
        share = math.floor(10_000 * used / cap) if cap else 10_000 * used
        uses.append({"bank": bank, "cap": cap, "used": used, "basis_points": share})
    return sorted(uses, key=lambda use: (-use["basis_points"], use["bank"]))


async def recomputed(url: str) -> tuple[dict[str, Figures], dict[str, Concentration]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT * FROM balances WHERE bank <> 'polka'")
        banks = {
            currency: [int(row["balance"]) for row in rows if row["currency"] == currency]
            for currency in {row["currency"] for row in rows}
        }
        return await stored(connection), {currency: concentration(balances) for currency, balances in banks.items()}
    finally:
        await connection.close()


@pytest.fixture
def told(services: Services) -> Told:
    return Told(services)


def test_the_figures_are_those_of_the_balances_whatever_becomes_of_the_cache(told: Told) -> None:
    """With fees and payments across currencies, of which Polka keeps something; and of caps all is told."""
    chance = random.Random(5)
    told.agree("bank1", fees={"USD": {"fixed": 7}, "EUR": {"basis_points": 30}})
    caps = {f"bank{n}": {"USD": 30_000 * n, "EUR": 0} for n in range(1, 6)}
    for bank, cap in caps.items():
        told.agree(bank, caps=cap)
    told.agree("bank2", caps={"EUR": None})
    del caps["bank2"]["EUR"]
    for _ in range(60):
        sender, receiver = chance.sample([f"bank{n}" for n in range(1, 13)], 2)
        told.pay(chance.randrange(1, 10_000), sender, receiver, chance.choice(["USD", "EUR", "JPY"]))
    told.pay(1_000, "bank1", "bank2", receiver_currency="JPY")
    client.post(f"{told.api.url}/clearing", json={"window": 1}).raise_for_status()
    told.pay(500)
    client.post(f"{told.api.url}/clearing/1/settle").raise_for_status()
    told.posted()
    figures, shares = asyncio.run(recomputed(told.database_url))
    assert figures["USD"].owed == 507  # with a fee
    assert figures["USD"].held > 0 > figures["JPY"].held  # dollars were paid in, yen paid out
    by_memory = wait_for("memory has it", lambda: told.figures() == figures and told.get())
    for one in by_memory["currencies"]:
        share = shares[one["currency"]]
        assert one["concentration"] == {"debtors": share.debtors, "creditors": share.creditors}
        assert one["highest"]["owed"] >= one["owed"]
        assert one["caps"] == plain_uses(caps, asyncio.run(balances(told.database_url)), one["currency"])
    told.cache.kill()
    by_database = told.get()
    assert by_database["currencies"] == by_memory["currencies"]
    assert by_database["as_of"]["flush"] == by_memory["as_of"]["flush"]
    told.cache.restart()
    assert told.get()["currencies"] == by_memory["currencies"]
    prove(told.database_url, told.cache.url)


YESTERDAY = """
UPDATE liquidity_history SET start = start - interval '24 hours', at = at - interval '24 hours',
    highest_at = highest_at - interval '24 hours';
UPDATE flush SET flushed_at = flushed_at - interval '24 hours'
"""


def test_a_day_begins_with_what_was_owed_at_midnight(told: Told) -> None:
    told.pay(100)
    told.posted()
    told.pay(60, "bank2", "bank1")
    told.posted()
    assert told.get()["currencies"][0]["highest"]["owed"] == 100
    told.cache.kill()
    asyncio.run(execute(told.database_url, YESTERDAY))
    told.cache.restart()
    for cache_is_away in (False, True):
        if cache_is_away:
            told.cache.kill()
        found = told.get()
        midnight = found["as_of"]["time"][:10] + "T00:00:00Z"
        assert found["currencies"][0]["highest"] == {"owed": 40, "at": midnight, "flush": 2}
    told.cache.restart()
    told.pay(5)
    told.posted()
    assert wait_for("it is told", lambda: told.get()["currencies"][0]["highest"]["owed"] == 45)


def test_the_history_comes_in_pages_from_the_newest(told: Told) -> None:
    for amount in (30, 20, 10):
        told.pay(amount)
        told.posted()
    told.pay(25, "bank2", "bank1")
    told.posted()
    for name in ("cursor", "to"):  # `to` was the only way before
        pages, end = [], None
        while True:
            page = told.get("/history", currency="USD", resolution="flush", limit=3, **({name: end} if end else {}))
            pages.append([(one["last"]["owed"], one["flush"]) for one in page["samples"]])
            assert page["next"] == page["cursor"]
            if (end := page["cursor"]) is None:
                break
        assert pages == [[(35, 4), (60, 3), (50, 2)], [(30, 1)]]
    newest, older = (one["start"] for one in told.get("/history", currency="USD", resolution="flush")["samples"][:2])
    for params in ({"cursor": newest, "to": older}, {"cursor": older, "to": newest}):
        page = told.get("/history", currency="USD", resolution="flush", **params)
        assert [one["flush"] for one in page["samples"]] == [2, 1]
    day = told.get("/history", currency="USD", resolution="day")["samples"][0]
    assert (day["last"]["owed"], day["highest"]["owed"], day["highest"]["flush"]) == (35, 60, 3)
    assert told.get("/history", currency="USD", **{"from": day["at"], "to": day["at"]})["samples"] == []
    assert told.get("/history", currency="EUR") == {
        "currency": "EUR",
        "resolution": "minute",
        "samples": [],
        "cursor": None,
        "next": None,
    }


@pytest.mark.parametrize(
    ("params", "code", "field"),
    [
        ({"currency": "ABC"}, "unknown_currency", "currency"),
        ({}, "invalid", "currency"),
        ({"currency": "USD", "resolution": "week"}, "invalid", "resolution"),
        ({"currency": "USD", "from": "yesterday"}, "invalid", "from"),
        ({"currency": "USD", "limit": "501"}, "invalid", "limit"),
    ],
)
def test_what_is_no_question_about_the_history_is_told(
    polka: Running, params: dict[str, str], code: str, field: str
) -> None:
    response = client.get(f"{polka.url}/liquidity/history", params=params)
    assert refused(response, 422 if code == "unknown_currency" else 400, code)["field"] == field


def test_the_cache_shows_them_as_metrics(told: Told) -> None:
    told.agree("bank1", caps={"USD": 400})
    told.pay(100)
    told.pay(40, "bank2", "bank3")
    told.posted()

    def shown() -> set[str]:
        return set(page(told.cache.metrics_url).splitlines())

    wait_for("the metrics are up to date", lambda: 'polka_owed_minor_units{currency="USD"} 100.0' in shown())
    assert shown() >= {
        'polka_owes_minor_units{currency="USD"} 100.0',
        'polka_held_minor_units{currency="USD"} 0.0',
        'polka_highest_owed_minor_units{currency="USD"} 100.0',
        'polka_concentration_ratio{currency="USD",side="debtors"} 1.0',
        'polka_cap_use_ratio{bank="bank1",currency="USD"} 0.25',
        'polka_concentration_ratio{currency="USD",side="creditors"} 1.0',
    }
