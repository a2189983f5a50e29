"""What Polka tells of its liquidity, whatever becomes of the cache."""

import asyncio
import math
import random
from typing import Any

import asyncpg
import pytest

from databases import execute
from exposed import page
from front_door import refused
from plain_liquidity import Balances, stored
from polka.rules.liquidity import Concentration, Figures, concentration
from proof import prove
from running import Running
from services import Services, client, payment, wait_for


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
