"""The audit recomputes every balance from the transactions and their history in one snapshot.

It returns all differences with their amounts.
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import msgspec

from polka.audit.checks import CACHE_CHECK, CHECKS
from polka.audit.recomputed import FROM_THE_BEGINNING
from polka.edge import tls
from polka.rules.audits import Skipped
from polka.rules.banks import Bank, Banks
from polka.rules.facts import fact
from polka.rules.pages import PAGE_MAX
from polka.rules.transactions import POLKA
from polka.service import settings
from polka.store import database
from polka.store.database import Connection

DIFFERENCES_MAX = 1_000
CACHE_TRIES = 50
CACHE_SECONDS = 5.0
RETRY_SECONDS = 0.1

COUNTS = """
    SELECT (SELECT count(*) FROM transactions) AS transactions, (SELECT count(*) FROM banks) AS banks,
           (SELECT count(*) FROM accounts) AS accounts,
           (SELECT count(*) FROM batches WHERE state = 'unposted') AS unposted,
           (SELECT number FROM flush) AS flush
"""


class Difference(msgspec.Struct, frozen=True):
    """A violation of a rule."""

    subject: str
    expected: int
    found: int


Findings = Mapping[str, list[Difference]]
"""Differences by check. Checks without a difference are left out."""


class Seen(msgspec.Struct, frozen=True):
    """Differences by check, and the skipped checks."""

    findings: Findings
    skipped: list[Skipped]


class Audit(msgspec.Struct, frozen=True):
    """The counts of checked rows, and the differences by check."""

    counts: dict[str, int]
    differences: dict[str, list[Difference]]

    @property
    def is_clean(self) -> bool:
        return not any(self.differences.values())


async def audit(database_url: str, cache_url: str | None = None, cache_token: str | None = None) -> Audit:
    """Check everything in one snapshot. With a cache URL, check the cache's answers too.

    Raises:
        Failure: the database is unavailable.
    """
    connection = await database.reach(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute("SET LOCAL work_mem = '256MB'")
            counts = dict(await connection.fetchrow(COUNTS))
            differences = {name: await look(connection, query, FROM_THE_BEGINNING) for name, query in CHECKS.items()}
        if cache_url:
            differences[CACHE_CHECK] = await ask_cache(connection, cache_url, cache_token)
    finally:
        await connection.close()
    return Audit(counts, differences)


async def look(connection: Connection, query: str, given: str = "", *values: Any) -> list[Difference]:
    """Differences by subject. They are found first and sorted later, because usually there is nothing to sort.

    `given` are relations for the query, beside the tables or in place of the tables.
    """
    given = f"{given}, " if given else ""
    in_order = f"""
    WITH {given} found AS MATERIALIZED ({query}) SELECT * FROM found ORDER BY subject LIMIT {DIFFERENCES_MAX}
    """
    try:
        async with connection.transaction():
            rows = await connection.fetch(in_order, *values)
    except asyncpg.DataError as error:
        return [Difference(f"something is stored that makes no sense: {error}", 0, 1)]
    return [Difference(row["subject"], int(row["expected"]), int(row["found"])) for row in rows]


async def ask_cache(connection: Connection, cache_url: str, cache_token: str | None) -> list[Difference]:
    """Compare at a flush that the cache and the database share. Under load this takes a few tries."""
    headers = {"Authorization": f"Bearer {cache_token}"} if cache_token else None
    encryption = tls.to_cache(cache_url, settings.read(tls.CacheSettings, os.environ))
    async with httpx.AsyncClient(
        base_url=cache_url,
        headers=headers,
        timeout=CACHE_SECONDS,
        trust_env=False,
        verify=encryption or tls.verifies(cache_url),
    ) as client:
        for _ in range(CACHE_TRIES):
            try:
                answered = await balances_of_cache(client)
            except (httpx.HTTPError, ValueError, RecursionError) as error:
                return [Difference(f"{cache_url} does not answer: {fact(error)}", 1, 0)]
            stored = await connection.fetch(
                "SELECT bank, currency, balance, number FROM flush LEFT JOIN balances ON true"
            )
            if answered and answered[0] == stored[0]["number"]:
                return compare(answered[1], stored)
            await asyncio.sleep(RETRY_SECONDS)
    return [Difference("no flush that both had", 1, 0)]


async def balances_of_cache(client: httpx.AsyncClient) -> tuple[int, dict[tuple[str, str], int]] | None:
    """The flush, and the posted balances by bank and currency; None if a flush came between two pages."""
    response = await client.get(f"/balance/{POLKA}")
    banks = [msgspec.json.decode(response.raise_for_status().content, type=Bank)]
    after: str | None = ""
    while after is not None:
        response = await client.get("/balance", params={"after": after, "limit": PAGE_MAX})
        page = msgspec.json.decode(response.raise_for_status().content, type=Banks)
        banks += page.banks
        after = page.next
    flushes = {bank.as_of.flush for bank in banks}
    if len(flushes) > 1:
        return None
    return flushes.pop(), {(bank.name, held.currency): held.posted for bank in banks for held in bank.balances}


def compare(answered: dict[tuple[str, str], int], stored: Sequence[Any]) -> list[Difference]:
    balances: dict[tuple[str, str], Decimal] = {
        (row["bank"], row["currency"]): row["balance"] for row in stored if row["bank"] is not None
    }
    return [
        Difference(" ".join(key), int(balances.get(key, 0)), answered.get(key, 0))
        for key in sorted(balances.keys() | answered.keys())
        if int(balances.get(key, 0)) != answered.get(key, 0)
    ]
