"""Flushes on connections of the test's own: what keeps two of them apart, whoever runs them."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cache.ledger import flush
from committed import commit, transfer
from locks import until_waiting

pytestmark = pytest.mark.anyio


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[list[asyncpg.Connection]]:
    """Two connections, as two caches have them."""
    connections = [await asyncpg.connect(database_url) for _ in range(2)]
    yield connections
    for connection in connections:
        connection.terminate()


async def test_two_flushes_at_once_post_each_batch_once(
    database_url: str, connection: asyncpg.Connection, two: list[asyncpg.Connection]
) -> None:
    """The first is held at its end. The second, which sees the batch unposted, waits for it and looks again."""
    await commit(connection, transfer(100))
    await connection.execute("BEGIN; SELECT FROM flush FOR UPDATE")
    first = asyncio.create_task(flush.flush(two[0], 0, 1, 100))
    await until_waiting(database_url)
    second = asyncio.create_task(flush.flush(two[1], 0, 2, 100))
    await until_waiting(database_url, 2)
    await connection.execute("COMMIT")
    assert [len((await flushed).posted) for flushed in (first, second)] == [1, 0]
    assert await connection.fetchval("SELECT balance FROM balances WHERE bank = 'bank1'") == -100


async def test_raising_the_epoch_waits_for_a_flush_under_way(
    database_url: str, connection: asyncpg.Connection, two: list[asyncpg.Connection]
) -> None:
    """So a new cache reads balances that no flush of its predecessor changes any more."""
    await commit(connection, transfer(100))
    await connection.execute("BEGIN; SELECT FROM flush FOR UPDATE")
    flushing = asyncio.create_task(flush.flush(two[0], 0, 1, 100))
    await until_waiting(database_url)
    raising = asyncio.create_task(flush.raise_epoch(two[1]))
    await until_waiting(database_url, 2)
    await connection.execute("COMMIT")
    assert len((await flushing).posted) == 1
    assert await raising == 1
    with pytest.raises(flush.OutdatedError):
        await flush.flush(two[0], 0, 2, 100)


async def test_a_flush_is_numbered_after_the_latest_one(connection: asyncpg.Connection) -> None:
    """A memory that lacks a flush would count on from balances that it does not hold."""
    await commit(connection, transfer(100))
    with pytest.raises(flush.OutdatedError):
        await flush.flush(connection, 0, 2, 100)
    assert await connection.fetchval("SELECT count(*) FROM balances") == 0
    assert (await flush.flush(connection, 0, 1, 100)).number == 1
