"""Keeps the ledger: raises the epoch, reads, flushes each second, and starts again after any doubt.

There is one path into service, for the first start and after each failed flush: forget the memory, raise the epoch,
read the balances, post all earlier commits. Each start exercises the recovery. A cache that starts again raises the
epoch only if the epoch is still its own. Windows are closed and settled between two flushes, over the same connection.
Their failures are doubts too.
"""

import asyncio
import logging
import time
from datetime import UTC, datetime
from uuid import UUID

from cache import metrics
from cache.clearing import windows
from cache.clearing.schedule import Schedule
from cache.keeping.announced import Announced, oldest_milliseconds, oldest_seconds
from cache.keeping.orders import NotServingError
from cache.keeping.service import Service, absorb, absorb_step, keep_aside, next_batch
from cache.ledger import flush
from cache.ledger.flush import Flushed, PoisonError
from cache.settings import Settings
from polka.rules.windows import Conflict, Window
from polka.service import traces
from polka.service.background import background
from polka.store import bank_terms, database
from polka.store.database import Connection
from polka.store.writers import Writers

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.2


class Keeper:
    """The only writer of the ledger. `service` is None during a start, and the cache answers no requests then."""

    def __init__(self, settings: Settings, writers: Writers) -> None:
        self.service: Service | None = None
        self._settings = settings
        self._writers = writers
        self._epoch: int | None = None
        self._payments_max = settings.flush_payments_max
        self._flushed_at = time.monotonic()
        metrics.PENDING.set_function(lambda: len(self.service.ledger.pending) if self.service else 0)
        metrics.PENDING_OLDEST_SECONDS.set_function(lambda: oldest_seconds(self.service.ledger) if self.service else 0)
        metrics.FLUSH_NUMBER.set_function(lambda: self.service.ledger.flush if self.service else 0)
        metrics.FLUSH_AGE_SECONDS.set_function(lambda: time.monotonic() - self._flushed_at)

    async def run(self) -> None:
        """Start, flush each second, and start again after failures, until cancelled.

        Raises:
            OutdatedError: another cache has taken over.
        """
        while True:
            try:
                await self._serve()
            except database.ERRORS as error:
                database.report(log, "starting again", error)
                metrics.STARTS.labels(type(error).__name__).inc()
                # Too many payments, or one bad batch, may be the cause: take fewer, until a bad batch is alone.
                self._payments_max = max(1, self._payments_max // 2)
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self) -> None:
        connection = await database.connect(
            self._settings.database_url, "cache flush", self._settings.flush_timeout_seconds
        )
        try:
            service = await self._start(connection)
            self.service = service
            metrics.EPOCH.set(service.epoch)
            log.info("epoch %d: serving as of flush %d", service.epoch, service.ledger.flush)
            async with background(service.announced.settle()):
                while True:
                    tick = time.monotonic()
                    await self._flush(connection, service)
                    service.ledger.forget(oldest_milliseconds(self._settings))
                    await self._follow_schedule(connection, service)
                    await service.orders.follow(connection, tick + self._settings.flush_seconds)
        finally:
            if self.service:
                self.service.orders.forgo()
            self.service = None
            metrics.EPOCH.set(0)
            connection.terminate()

    async def _start(self, connection: Connection) -> Service:
        seconds = self._settings.flush_timeout_seconds
        with database.bounded(connection, seconds):
            epoch = await self._raise_epoch(connection)
            ledger = await flush.read_ledger(connection, first_id_at(oldest_milliseconds(self._settings)))
            liquidity = await flush.catch_up(connection, epoch)
            followed = await windows.follow(connection, epoch, self._settings.clearing_schedule)
        await self._adopt(connection, epoch)
        schedule = Schedule(self._settings.clearing_schedule, followed.since)
        announced = Announced(self._settings, self._writers, epoch, ledger)
        service = Service(epoch, ledger, liquidity, datetime.now(UTC), schedule, followed.unsettled, announced)
        await self._flush(connection, service)
        return service

    async def _raise_epoch(self, connection: Connection) -> int:
        try:
            self._epoch = await flush.raise_epoch(connection, self._epoch)
        except database.ERRORS as error:
            if not database.failed_for_sure(error):
                self._epoch = None  # the epoch may be raised: a higher epoch is no proof of another cache
            raise
        return self._epoch

    async def _adopt(self, connection: Connection, epoch: int) -> None:
        """Take batches that a Polka without windows has posted into the open window. No later cache will post such
        batches."""
        is_left = True
        while is_left:
            with database.bounded(connection, self._settings.flush_timeout_seconds):
                is_left = await flush.adopt(connection, epoch, self._payments_max)

    async def _flush(self, connection: Connection, service: Service) -> None:
        """Post all earlier commits, and then follow the policy that was in force before the flush.

        Payments under an older policy have ended by then, and are therefore posted.
        """
        with database.bounded(connection, self._settings.flush_timeout_seconds):
            policy = await bank_terms.newest(connection, service.ledger.policy)
        await self._post(connection, service)
        if policy is not service.ledger.policy:
            service.ledger.follow(policy)

    async def _post(self, connection: Connection, service: Service) -> None:
        """Post all earlier commits. Batches that are committed meanwhile do not prolong the flush."""
        newest: UUID | None = None
        while True:
            began = time.perf_counter()
            with database.bounded(connection, self._settings.flush_timeout_seconds):
                flushed = await self._flush_some(connection, service)
            seconds = time.perf_counter() - began
            metrics.FLUSH_SECONDS.observe(seconds)
            metrics.FLUSH_BATCHES.observe(len(flushed.posted))
            traces.flushed(flushed.number, (batch.id for batch in flushed.posted), seconds)
            absorb(service, flushed)
            if flushed.is_last or has_passed(flushed, newest):
                self._flushed_at = time.monotonic()
                return
            if newest is None:
                with database.bounded(connection, self._settings.flush_timeout_seconds):
                    newest = await flush.newest_unposted(connection)
            self._payments_max = min(self._settings.flush_payments_max, self._payments_max * 2)

    async def _flush_some(self, connection: Connection, service: Service) -> Flushed:
        while True:
            try:
                return await flush.flush(connection, service.epoch, service.ledger.flush + 1, self._payments_max)
            except PoisonError as error:
                await flush.set_aside(connection, service.epoch, error.batch.id)
                keep_aside(service, error.batch)

    async def _follow_schedule(self, connection: Connection, service: Service) -> None:
        """Close the open window if its time has come, and settle the windows that the schedule has closed.

        The database's time decides, after a flush. Batches that were committed while no cache ran are therefore in the
        window.
        """
        if firing := service.schedule.due(service.as_of):
            with database.bounded(connection, self._settings.flush_timeout_seconds):
                closed = await windows.fire(connection, service.epoch, firing, *next_batch(service))
            window = absorb_step(service, closed)
            service.schedule.fired(firing)
            service.unsettled.append(window.id)
            metrics.FIRED.inc()
            log.info("window %d is closed, as scheduled for %s", window.id, firing)
        while service.unsettled:
            await self._settle_window(connection, service, service.unsettled[0])
            service.unsettled.popleft()

    async def close(self, window: int) -> Window | Conflict:
        """Close the window with all earlier commits.

        Raises:
            NotServingError: the work was not begun.
            OutdatedError: another cache has taken over, and nothing was done.
        """
        service = self._serving()

        async def work(connection: Connection) -> Window | Conflict:
            await self._flush(connection, service)
            with database.bounded(connection, self._settings.flush_timeout_seconds):
                closed = await windows.close(connection, service.epoch, window, *next_batch(service))
            return absorb_step(service, closed) if isinstance(closed, windows.Done) else closed

        return await service.orders.do(work)

    async def settle(self, window: int) -> Window | Conflict | None:
        """Bring the nets of a closed window to zero; None if the window does not exist.

        Raises:
            NotServingError: the work was not begun.
            OutdatedError: another cache has taken over, and nothing was done.
        """
        service = self._serving()

        async def work(connection: Connection) -> Window | Conflict | None:
            return await self._settle_window(connection, service, window)

        return await service.orders.do(work)

    async def _settle_window(self, connection: Connection, service: Service, window: int) -> Window | Conflict | None:
        with database.bounded(connection, self._settings.flush_timeout_seconds):
            settled = await windows.settle(connection, service.epoch, window, *next_batch(service))
        return absorb_step(service, settled) if isinstance(settled, windows.Done) else settled

    async def follow(self, policy: int) -> Service:
        """Follow at least this version of the policy, which is in force. An older version is replaced after a flush
        that begins now.

        Raises:
            NotServingError: the work was not begun.
            OutdatedError: another cache has taken over.
        """
        service = self._serving()

        async def work(connection: Connection) -> None:
            if service.ledger.policy.version < policy:  # an earlier order may have followed it
                await self._flush(connection, service)

        if service.ledger.policy.version < policy:
            await service.orders.do(work)
        return service

    def _serving(self) -> Service:
        if self.service is None:
            raise NotServingError
        return self.service


def has_passed(flushed: Flushed, newest: UUID | None) -> bool:
    """Whether the flush has posted this batch, and therefore all older batches. A flush takes the oldest batches
    first."""
    return newest is not None and any(batch.id >= newest for batch in (*flushed.posted, *flushed.aside))


def first_id_at(milliseconds: int) -> UUID:
    """The lowest version 7 id of this time."""
    return UUID(int=milliseconds << 80)
