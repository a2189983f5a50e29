"""Searches by a session like those of an api."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from api.routes import search
from api.routes.search import Search
from polka.store import database
from polka.store.database import Pool


@asynccontextmanager
async def searching(database_url: str) -> AsyncIterator[Pool]:
    """One session, set as those of an api that search."""
    async with database.pool(database_url, "test", 1, 30, search.SESSION) as pool:
        yield pool


async def all_found(pool: Pool, wanted: Search, visible_to: str | None = None) -> tuple[list[str], int]:
    """The ids on all pages, and the number of pages."""
    found: list[str] = []
    for number in itertools.count(1):
        page = await search.find(pool, wanted, visible_to)
        found += [transaction.id for transaction in page.transactions]
        if page.cursor is None:
            return found, number
        wanted = replace(wanted, cursor=page.cursor)
    raise AssertionError
