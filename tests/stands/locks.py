"""Sessions that wait for each other. A test thus recognises the critical point of a race."""

import asyncio

import asyncpg

from waiting import WAIT_SECONDS


async def until_waiting(url: str, sessions: int = 1) -> None:
    """Wait until this many sessions of the database wait for a lock."""
    connection = await asyncpg.connect(url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while await connection.fetchval(query) < sessions:
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


class Locked:
    """While the block runs, writers of the table wait; with `ACCESS EXCLUSIVE` readers, too."""

    def __init__(self, url: str, table: str, mode: str = "SHARE") -> None:
        self._runner = asyncio.Runner()
        self._url, self._table, self._mode = url, table, mode

    def __enter__(self) -> None:
        self._connection = self._runner.run(asyncpg.connect(self._url))
        self._runner.run(self._connection.execute(f"BEGIN; LOCK TABLE {self._table} IN {self._mode} MODE"))

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()
