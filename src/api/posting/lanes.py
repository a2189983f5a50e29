"""A lane: operations that wait to be committed, and the connection that commits them, one batch after the other."""

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
"""An operation of more payments is large: others do not wait for its commit."""


class Lane:
    """A queue that banks share, and a connection of its own: no other lane, and no reader, holds it up.

    `collecting` is held from looking at the queue until the batch's turn to be committed, and `committing` from then on
    until it is; `is_unchecked` while caps cannot be checked.
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
        """Whether it may wait, too."""
        return self._waiting.has_room(operation.bank, operation.size)

    def put(self, pending: Pending) -> None:
        self._waiting.put(pending)
        self._arrived.set()

    def put_back(self, pending: Iterable[Pending]) -> None:
        """Have these wait ahead of all others of their banks, in their order."""
        self._waiting.put_back(pending)
        self._arrived.set()

    async def arrival(self) -> None:
        """Wait until something waits."""
        await self._arrived.wait()

    def take(self) -> list[Pending]:
        """The next batch, in which each bank that waits has its share."""
        taken = self._waiting.take()
        if not self._waiting.payments:
            self._arrived.clear()
        return taken

    async def connected(self) -> Connection:
        """The lane's own connection: a pool would reset it after every commit."""
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
        """See that the lane's connection could commit now, between two commits. One to a server that only reads is cut.

        Raises:
            database.ERRORS: it could not.
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
    """All lanes of a process, and which of them an operation takes."""

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
