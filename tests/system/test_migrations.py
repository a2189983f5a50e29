"""A migration while an older Polka pays: none of its requests fails, and no key pays twice."""

import asyncio
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import older
import posts
from polka.store import database
from polka.store.migrate import config, migrate
from polka.store.migrations import REVISION
from posts import accepted, key, pay, stored

pytestmark = pytest.mark.anyio

BEFORE = "0016"
"""Before there were generations of idempotency keys."""
BEGIN = "SELECT polka_begin_keys(interval '0')"


async def migrate_to(url: str, revision: str) -> None:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: database.connect(url, "test"), poolclass=NullPool
    )
    async with engine.connect() as connection:
        await connection.run_sync(lambda sync: command.upgrade(config(sync), revision))
        await connection.commit()
    await engine.dispose()


class Clients:
    """Pay under one key after the other, each at once through two older apis, and a newer one once there is one."""

    def __init__(self, url: str) -> None:
        self.paid = 0
        self.newer: Any = None
        self.is_over = False
        self._url = url

    async def run(self) -> None:
        apis = [await asyncpg.connect(self._url), await asyncpg.connect(self._url)]
        while not self.is_over:
            await self._pay(apis, pay(1, str(self.paid)), key(self.paid))
            self.paid += 1
        for api in apis:
            await api.close()

    async def _pay(self, apis: list[asyncpg.Connection], payment: Any, own: tuple[str, str]) -> None:
        payments = [older.pay(api, payment, own) for api in apis]
        newer = [self.newer.post(payment, own, 30)] if self.newer else []
        outcomes = await asyncio.gather(*payments, *newer, return_exceptions=True)
        made = outcomes[:2].count(None) + sum(not accepted(outcome).replayed for outcome in outcomes[2:])  # type: ignore[arg-type]
        assert made == 1, outcomes
        assert all(outcome is None or isinstance(outcome, asyncpg.UniqueViolationError) for outcome in outcomes[:2])
        await older.refuse(apis[0], payment, own, '{"refusal": "CONFLICT"}')
        assert await older.paid(apis[0], own) == await older.paid(apis[1], own) is not None

    async def until(self, paid: int, run: "asyncio.Task[None]") -> None:
        """Until so many keys are paid, or one was not."""
        while self.paid < paid and not run.done():
            await asyncio.sleep(0.01)
        if run.done():
            run.result()


async def test_idempotency_keys_come_into_generations_while_an_older_polka_pays(empty_database_url: str) -> None:
    await migrate_to(empty_database_url, BEFORE)
    clients = Clients(empty_database_url)
    running = asyncio.create_task(clients.run())
    await clients.until(50, running)
    assert await migrate(empty_database_url) == REVISION
    migrated = clients.paid
    await clients.until(migrated + 50, running)
    connection = await asyncpg.connect(empty_database_url)
    async with posts.starting(empty_database_url, connection) as start:
        clients.newer = await start()
        another = await start()
        for number in (0, migrated - 2, migrated, migrated + 48):
            assert accepted(await another.post(pay(1, str(number)), key(number), 30)).replayed
        await clients.until(clients.paid + 50, running)
        while await connection.fetchval("SELECT number FROM idempotency_generation") == 1:
            with suppress(asyncpg.LockNotAvailableError):
                await connection.fetchval(BEGIN)
        await clients.until(clients.paid + 50, running)
        clients.is_over = True
        await running
    assert sorted(int(row["reference"]) for row in await stored(connection)) == list(range(clients.paid))
    await connection.close()
