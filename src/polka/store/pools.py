"""A pool of connections to Postgres. Its queue is bounded: a request gets a connection soon, or is rejected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from polka.store.database_errors import BusyError

Connection: TypeAlias = asyncpg.Connection


class Pool:
    """At most `waiting_max` calls wait for a connection, each at most `wait_seconds`.

    Sessions are handed on unchanged, because no code changes a session. A cancelled call ends its statement on the
    server. The connection serves the next call only after that.
    """

    def __init__(self, opened: asyncpg.Pool, waiting_max: int, wait_seconds: float) -> None:
        self.waiting = 0
        self._opened = opened
        self._waiting_max = waiting_max
        self._wait_seconds = wait_seconds

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """A connection for the block.

        Raises:
            BusyError: too many calls are waiting.
            TimeoutError: no connection was free in time.
        """
        if self.waiting >= self._waiting_max:
            raise BusyError(f"{self.waiting} wait for a connection already")
        self.waiting += 1
        try:
            connection = await self._opened.acquire(timeout=self._wait_seconds)
        finally:
            self.waiting -= 1
        try:
            yield connection
        finally:
            await self._opened.release(connection)

    async def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        async with self.acquire() as connection:
            return list(await connection.fetch(query, *values))

    async def fetchrow(self, query: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *values)

    async def fetchval(self, query: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchval(query, *values)

    async def execute(self, query: str, *values: Any) -> str:
        async with self.acquire() as connection:
            return str(await connection.execute(query, *values))

    def size_max(self) -> int:
        return int(self._opened.get_max_size())

    def idle(self) -> int:
        """Unused connections."""
        return int(self._opened.get_idle_size())

    def in_use(self) -> int:
        return int(self._opened.get_size()) - self.idle()
