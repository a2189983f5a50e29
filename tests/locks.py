"""Sessions that wait for each other: by them a test knows that a race has come to its point."""

import asyncio

import asyncpg


async def until_waiting(url: str, sessions: int = 1) -> None:
    """Until this many sessions of the database wait for a lock."""
    connection = await asyncpg.connect(url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    try:
        async with asyncio.timeout(20):
            while await connection.fetchval(query) < sessions:
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
