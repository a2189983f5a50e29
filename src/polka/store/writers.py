"""Sessions for writes beside the lanes of payments, and the patience with a server's commits.

If a session is cut while its commit waits for a synchronous standby, a process of the server stays waiting, and a
server has a limited number of processes. Therefore few sessions write, callers who leave cut no session, and patience
grows.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from polka.service.metrics import show_pool
from polka.store import database
from polka.store.database import Connection, Pool

T = TypeVar("T")
P = ParamSpec("P")

PATIENCE_SECONDS_MAX = 600.0


class Patience:
    """The time limit for a server. It doubles after each timeout, and a success resets it."""

    def __init__(self, seconds: float) -> None:
        self._first_seconds = self.seconds = seconds

    def bounds(self, connection: Connection) -> database.bounded:
        """As `database.bounded`."""
        return Patient(connection, self)

    def learn(self, is_done: bool, is_late: bool) -> None:
        if is_done:
            self.seconds = self._first_seconds
        elif is_late:
            self.seconds = min(self.seconds * 2, PATIENCE_SECONDS_MAX)


class Patient(database.bounded):
    __slots__ = ("_ends_at", "_patience")

    def __init__(self, connection: Connection, patience: Patience) -> None:
        super().__init__(connection, patience.seconds)
        self._patience = patience
        self._ends_at = time.monotonic() + patience.seconds

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        is_done = error is None and not self.is_unreplicated
        self._patience.learn(is_done, not is_done and time.monotonic() >= self._ends_at)
        super().__exit__(kind, error, trace)


class Writers:
    """Does rare writes. Each piece of work gets a session from a pool."""

    def __init__(self, pool: Pool, seconds: float) -> None:
        self._pool = pool
        self._patience = Patience(seconds)
        self._at_work: set[asyncio.Task[object]] = set()

    async def do(
        self, work: Callable[Concatenate[Connection, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The result of the work, which gets a connection as its first argument.

        Once begun, the work runs to its end, even if its caller is cancelled.

        Raises:
            UnreplicatedError: the wait of a commit for a standby was cancelled.
        """
        async with AsyncExitStack() as acquired:
            connection = await acquired.enter_async_context(self._pool.acquire())
            task = asyncio.create_task(
                self._do(acquired.pop_all(), connection, partial(work, connection, *args, **kwargs))
            )
        self._at_work.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def _do(self, acquired: AsyncExitStack, connection: Connection, work: Callable[[], Awaitable[T]]) -> T:
        async with acquired:
            with self._patience.bounds(connection):
                return await work()

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._at_work.discard(task)
        if not task.cancelled():
            task.exception()  # retrieves the exception, if the caller has left


@asynccontextmanager
async def open_writers(url: str, purpose: str, size: int, timeout_seconds: float) -> AsyncIterator[Writers]:
    """Writers with `size` sessions. Each statement may take `timeout_seconds`."""
    async with database.writing_pool(url, purpose, size, timeout_seconds) as pool:
        show_pool(purpose, pool)
        yield Writers(pool, timeout_seconds + 1)
