"""The audit at the end of tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from polka.audit import passes, snapshot
from polka.store import database
from services import CACHE_TOKEN


def prove(database_url: str, cache_url: str | None = None) -> None:
    """Check that the audit is clean, including the cache's answers if there is a cache."""
    asyncio.run(clean_audit(database_url, cache_url))


async def clean_audit(database_url: str, cache_url: str | None = None) -> None:
    """The same for coroutines."""
    done = await snapshot.audit(database_url, cache_url, CACHE_TOKEN)
    assert done.is_clean, done.differences


@asynccontextmanager
async def session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect(database_url, "audit", 0, passes.SESSION)
    try:
        yield connection
    finally:
        await connection.close()
