"""Sessions for what is written beside the lanes of payments, and how long a server may take for a commit.

A session that is cut while its commit waits for a synchronous standby leaves a process of the server waiting, and a
server has only so many. So few sessions write, callers who leave cut none, and patience grows.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from polka.service.metrics import show_pool
from polka.store import database
from polka.store.database import Connection, Pool

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE_SECONDS_MAX = 600.0


class Patience:
    """How long a server may take: this long at first, and twice as long after each time that was not enough."""

    def __init__(self, seconds: float) -> None:
        self._first_seconds = self._seconds = seconds

    @contextmanager
    def bounds(self, connection: Connection) -> Iterator[None]:
        """As `database.bounded`."""
        ends_at = time.monotonic() + self._seconds
        try:
            with database.bounded(connection, self._seconds):
                yield
        except BaseException:
            if time.monotonic() >= ends_at:
                self._seconds = min(self._seconds * 2, PATIENCE_SECONDS_MAX)
            raise
        self._seconds = self._first_seconds


class Writers:
    """Does what is written rarely, each piece of work on a session from a pool."""

    def __init__(self, pool: Pool, seconds: float) -> None:
        self._pool = pool
        self._patience = Patience(seconds)
        self._at_work: set[asyncio.Task[object]] = set()

    async def do(
        self, work: Callable[Concatenate[Connection, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The result of the work, which gets a connection as its first argument.

        Once the work has begun it goes on to its end, also if its caller is cancelled.

        Raises:
            UnreplicatedError: the wait of a commit for a standby was cancelled.
        """
        async with AsyncExitStack() as acquired:
            connection = await acquired.enter_async_context(self._pool.acquire())
            task = asyncio.create_task(self._do(acquired.pop_all(), connection, work(connection, *args, **kwargs)))
        self._at_work.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _do(self, acquired: AsyncExitStack, connection: Connection, work: Awaitable[T]) -> T:
        async with acquired:
            with self._patience.bounds(connection):
                return await work

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._at_work.discard(task)
        if not task.cancelled():
            task.exception()  # of work whose caller has left, nobody asks for it


@asynccontextmanager
async def open_writers(url: str, purpose: str, size: int, timeout_seconds: float) -> AsyncIterator[Writers]:
    """Writers with so many sessions, whose statements may take this long."""
    async with database.writing_pool(url, purpose, size, timeout_seconds) as pool:
        show_pool(purpose, pool)
        yield Writers(pool, timeout_seconds + 1)
