"""Liquidity in the database: Polka's debts, claims and holdings now, and their history."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import asyncpg

from polka.rules.banks import AsOf
from polka.rules.liquidity import (
    LARGEST,
    CapUse,
    Concentration,
    Exposure,
    Exposures,
    Figures,
    Highest,
    LiquidityHistory,
    Resolution,
    Sample,
    basis_points,
    cap_use,
    highest_within,
    sampled,
    start_of,
)
from polka.rules.policy import BASIS_POINTS
from polka.rules.transactions import POLKA
from polka.rules.windows import SETTLED_BY_POLKA, SETTLEMENT
from polka.store.database import Connection, Pool

FIGURES = f"""
SELECT currency, coalesce(sum(balance) FILTER (WHERE balance > 0), 0) AS owes,
       coalesce(-sum(balance) FILTER (WHERE balance < 0), 0) AS owed,
       coalesce((SELECT -sum(accounts.balance) FROM accounts WHERE accounts.currency = balances.currency
                 AND bank = '{POLKA}' AND account IN ('{SETTLEMENT}', '{SETTLED_BY_POLKA}')), 0) AS held
FROM balances WHERE bank <> '{POLKA}' GROUP BY currency
"""
LARGEST_OF_EACH = f"""
SELECT currency, coalesce(sum(balance) FILTER (WHERE creditor <= {LARGEST} AND balance > 0), 0) AS creditors,
       coalesce(-sum(balance) FILTER (WHERE debtor <= {LARGEST} AND balance < 0), 0) AS debtors
FROM (
    SELECT currency, balance, row_number() OVER (PARTITION BY currency ORDER BY balance DESC) AS creditor,
           row_number() OVER (PARTITION BY currency ORDER BY balance) AS debtor
    FROM balances WHERE bank <> '{POLKA}'
) ranked
GROUP BY currency
"""
USES_OF_CAPS = f"""
SELECT bank, currency, cap, used FROM (
    SELECT *, row_number() OVER (
        PARTITION BY currency ORDER BY div({BASIS_POINTS} * used, greatest(cap, 1)) DESC, bank
    ) AS place
    FROM (
        SELECT bank, currency, cap::numeric AS cap, greatest(-coalesce(balance, 0), 0) AS used
        FROM (SELECT DISTINCT ON (bank) bank, caps FROM bank_terms ORDER BY bank, version DESC) terms
        CROSS JOIN LATERAL jsonb_each_text(caps) AS cap_of (currency, cap) LEFT JOIN balances USING (bank, currency)
    ) uses
) placed
WHERE place <= $1 ORDER BY currency, place
"""
"""Of posted balances. Only the cache knows the pending debits."""
NEWEST = """
SELECT newest.* FROM unnest($1::text[], $2::text[]) AS wanted (resolution, currency), LATERAL (
    SELECT * FROM liquidity_history AS history
    WHERE history.resolution = wanted.resolution AND history.currency = wanted.currency ORDER BY start DESC LIMIT 1
) newest
"""
PAGE = """
SELECT * FROM liquidity_history
WHERE resolution = $1 AND currency = $2 AND ($3::timestamptz IS NULL OR start >= $3)
AND ($4::timestamptz IS NULL OR start < $4)
ORDER BY start DESC LIMIT $5
"""


async def exposures(pool: Pool, caps: int) -> Exposures:
    """From the database alone, as of its latest flush, in one snapshot. `caps` is the number of caps with their use."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        number, now = await connection.fetchrow("SELECT number, now() FROM flush")
        figures = await read_figures(connection)
        largest = {row["currency"]: row for row in await connection.fetch(LARGEST_OF_EACH)}
        uses: dict[str, list[CapUse]] = defaultdict(list)
        for row in await connection.fetch(USES_OF_CAPS, caps):
            uses[row["currency"]].append(cap_use(row["bank"], int(row["cap"]), -int(row["used"])))
        days = await newest(connection, [("day", currency) for currency in figures])
    return Exposures(
        [
            exposure(
                currency,
                days.get(("day", currency)) or sampled("day", None, held, now, number),
                Concentration(
                    basis_points(int(largest[currency]["debtors"]), held.owed),
                    basis_points(int(largest[currency]["creditors"]), held.owes),
                ),
                uses[currency],
                now,
            )
            for currency, held in sorted(figures.items())
        ],
        AsOf(number, now),
    )


def exposure(currency: str, day: Sample, concentration: Concentration, caps: list[CapUse], now: datetime) -> Exposure:
    """From the newest sample of a day, with today's highest value."""
    highest = highest_within(start_of("day", now), day)
    return Exposure(currency, day.last.owes, day.last.owed, day.last.held, highest, concentration, caps)


async def history(
    pool: Pool, currency: str, resolution: Resolution, from_: datetime | None, to: datetime | None, limit: int
) -> LiquidityHistory:
    """The samples of spans that began at or after `from_`, and before `to`."""
    rows = await pool.fetch(PAGE, resolution, currency, from_, to, limit)
    page = [sample_of(row) for row in rows]
    last = page[-1].start if len(page) == limit else None
    return LiquidityHistory(currency, resolution, page, last, last)


async def read_figures(connection: Connection) -> dict[str, Figures]:
    """The figures from the current balances, by currency."""
    return {
        row["currency"]: Figures(int(row["owes"]), int(row["owed"]), int(row["held"]))
        for row in await connection.fetch(FIGURES)
    }


async def newest(
    connection: Connection, wanted: Iterable[tuple[Resolution, str]]
) -> dict[tuple[Resolution, str], Sample]:
    """The newest sample of each resolution and currency, if any."""
    keys = list(wanted)
    rows = await connection.fetch(NEWEST, [key[0] for key in keys], [key[1] for key in keys])
    return {(row["resolution"], row["currency"]): sample_of(row) for row in rows}


def sample_of(row: asyncpg.Record | Any) -> Sample:
    return Sample(
        row["start"],
        Figures(int(row["owes"]), int(row["owed"]), int(row["held"])),
        row["at"],
        row["flush"],
        Highest(int(row["highest"]), row["highest_at"], row["highest_flush"]),
    )
