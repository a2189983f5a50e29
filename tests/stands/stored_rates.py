"""Exchange rates in the database: the recorded rates, and rates stored by a test."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal

import asyncpg

from polka.rules.rates import Rates, Source
from polka.store import rate_sets

RECORDED = {"date": "2026-10-30", "version": 1, "source": "recorded"}
"""The part of every answer with Polka's recorded rates."""


def today() -> date:
    return datetime.now(UTC).date()


def store(database_url: str, day: date, rate: str) -> None:
    """Store rates as if fetched."""

    async def work() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            await rate_sets.store(connection, Rates(day, {"USD": Decimal(rate)}), Source.FETCHED)
        finally:
            await connection.close()

    asyncio.run(work())
