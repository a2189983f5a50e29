"""A lane: a queue of operations, and the connection that commits the queue one batch after the other."""

import asyncio
from collections.abc import Iterable, Iterator

import asyncpg

from api import metrics
from api.posting.batches import Pending
from api.posting.operations import Operation, lowers_capped
from api.posting.shares import Shares
from api.settings import Settings
from polka.rules.policy import Policy
from polka.store import database
from polka.store.database import Connection

LOOK_SECONDS_MAX = 2.0
LARGE = 100
"""An operation of more payments is large, and has another lane, so that small operations do not wait for its commit."""


class Lane:
    """A queue that banks share, with a connection of its own. Other lanes and readers cannot delay its commits.

    A batch holds `collecting` from the read of the queue until its turn to commit, and then `committing` until the end
    of the commit. `is_unchecked` is True while caps cannot be checked.
    """

    def __init__(self, settings: Settings, name: str, purpose: str) -> None:
        self.collecting = asyncio.Lock()
        self.committing = asyncio.Lock()
        self.is_unchecked = False
        self._settings = settings
        self._purpose = purpose
        self._waiting: Shares[Pending] = Shares(settings.batch_size_max, settings.queue_payments_max)
        self._arrived = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        metrics.QUEUE.labels(name).set_function(lambda: self._waiting.payments)
        metrics.QUEUE_MAX.labels(name).set(settings.queue_payments_max)

    def has_room(self, operation: Operation) -> bool:
        """Whether the queue has room for the operation."""
        return self._waiting.has_room(operation.bank, operation.size)

    def put(self, pending: Pending) -> None:
        self._waiting.put(pending)
        self._arrived.set()

    def put_back(self, pending: Iterable[Pending]) -> None:
        """Put these operations ahead of all others of their banks, in their order."""
        self._waiting.put_back(pending)
        self._arrived.set()

    async def arrival(self) -> None:
        """Wait until the queue has an operation."""
        await self._arrived.wait()

    def take(self) -> list[Pending]:
        """The next batch. Each waiting bank has its share."""
        taken = self._waiting.take()
        if not self._waiting.payments:
            self._arrived.clear()
        return taken

    async def connected(self) -> Connection:
        """The lane's own connection. A pool would reset the connection after every commit."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await database.connect(
                    self._settings.database_url, self._purpose, self._settings.commit_timeout_seconds
                )
            return self._connection

    @property
    def is_connected(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def look(self) -> None:
        """Check between two commits that the lane's connection can commit. A connection to a read-only server is
        closed.

        Raises:
            database.ERRORS: the connection cannot commit.
        """
        async with self.committing:
            connection = await self.connected()
            with database.bounded(connection, LOOK_SECONDS_MAX):
                if await connection.fetchval("SHOW transaction_read_only") != "off":
                    connection.terminate()
                    raise asyncpg.ReadOnlySQLTransactionError("the server only reads")

    def close(self) -> None:
        if self._connection:
            self._connection.terminate()


class Lanes:
    """All lanes of a process. `of` chooses the lane of an operation."""

    def __init__(self, settings: Settings) -> None:
        self.free = Lane(settings, "free", "api writer")
        self.large = Lane(settings, "large", "api large writer")
        self.capped = Lane(settings, "capped", "api capped writer")

    def __iter__(self) -> Iterator[Lane]:
        return iter((self.free, self.large, self.capped))

    def of(self, decided: Operation, policy: Policy) -> Lane:
        if policy.caps and lowers_capped(decided, policy.caps):
            return self.capped
        return self.large if decided.size > LARGE else self.free
