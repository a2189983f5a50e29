"""A lane: operations that wait to be committed, and the connection that commits them, one batch after the other."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from api import metrics
from api.batches import Pending
from api.settings import Settings
from polka import database
from polka.database import Connection


class Lane:
    """A queue that is bounded in payments, and a connection of its own: no other lane, and no reader, holds it up.

    `collecting` is held from looking at the queue until the batch's turn to be committed, and `committing` from then on
    until it is; `is_unchecked` while caps cannot be checked.
    """

    def __init__(self, settings: Settings, name: str, purpose: str) -> None:
        self.collecting = asyncio.Lock()
        self.committing = asyncio.Lock()
        self.is_unchecked = False
        self.queued_payments = 0
        self._settings = settings
        self._purpose = purpose
        self._queue: deque[Pending] = deque()
        self._arrived = asyncio.Event()
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        metrics.QUEUE.labels(name).set_function(lambda: self.queued_payments)
        metrics.QUEUE_MAX.labels(name).set(settings.queue_payments_max)

    def has_room(self, payments: int) -> bool:
        """Whether that many more may wait; an idle lane takes whatever comes."""
        return not self._queue or self.queued_payments + payments <= self._settings.queue_payments_max

    def put(self, pending: Pending) -> None:
        self._queue.append(pending)
        self.queued_payments += pending.operation.size
        self._arrived.set()

    def put_back(self, pending: Iterable[Pending]) -> None:
        """Have these wait ahead of all others, in their order."""
        first = list(pending)
        self._queue.extendleft(reversed(first))
        self.queued_payments += sum(one.operation.size for one in first)
        self._arrived.set()

    async def arrival(self) -> None:
        """Wait until something waits."""
        await self._arrived.wait()

    def take(self) -> Iterator[Pending]:
        """What waits, from the front, as long as it fits into one batch; at least one."""
        size = 0
        while self._queue and (not size or size + self._queue[0].operation.size <= self._settings.batch_size_max):
            pending = self._queue.popleft()
            self.queued_payments -= pending.operation.size
            size += pending.operation.size
            yield pending
        if not self._queue:
            self._arrived.clear()

    async def connected(self) -> Connection:
        """The lane's own connection: a pool would reset it after every commit."""
        async with self._connecting:
            if self._connection is None or self._connection.is_closed():
                self._connection = await database.connect(
                    self._settings.database_url, self._purpose, self._settings.commit_timeout_seconds
                )
            return self._connection

    def close(self) -> None:
        if self._connection:
            self._connection.terminate()
