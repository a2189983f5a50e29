"""Keeps the ledger: raises the epoch, reads, flushes each second, and starts anew after any doubt.

There is one path into service, taken by a first start and after each failed flush alike: forget the memory,
raise the epoch, read the balances, post what was committed. So it is exercised every day. A cache that starts anew
raises the epoch only if it is still its own. Windows are closed and settled between two flushes, over the same
connection: what fails there is a doubt like any other.
"""

import asyncio
import heapq
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import uuid_utils

from cache import metrics
from cache.clearing import windows
from cache.clearing.schedule import Schedule
from cache.ledger import flush
from cache.ledger.flush import Flushed, PoisonError
from cache.ledger.ledger import Hold, Ledger, Posted
from cache.settings import Settings
from polka.rules.liquidity import Sample
from polka.rules.messages import Asked, Reserved, Told
from polka.rules.windows import Conflict, Window
from polka.service import traces
from polka.service.background import background
from polka.store import bank_terms, batches, database
from polka.store.database import Connection
from polka.store.positions import AsOf
from polka.store.writers import Writers

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.2
ORDERS_MAX = 16

T = TypeVar("T")


class NotServingError(Exception):
    """The cache is starting, or has too much to do: what it was asked for was not begun."""


class Order:
    """What is to be done between two flushes, and the future of what it gives."""

    def __init__(self, work: Callable[[Connection], Awaitable[Any]]) -> None:
        self.work = work
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


class Service:
    """What a started cache holds: its epoch, the ledger, when its last flush looked, and what it is to do beside.

    `liquidity` has the newest sample of a day for each currency, and `unsettled` are the windows that the schedule has
    closed and that are to be settled.
    """

    def __init__(
        self,
        epoch: int,
        ledger: Ledger,
        liquidity: dict[str, Sample],
        as_of: datetime,
        schedule: Schedule,
        unsettled: Iterable[int],
    ) -> None:
        self.epoch = epoch
        self.ledger = ledger
        self.liquidity = liquidity
        self.as_of = as_of
        self.schedule = schedule
        self.unsettled = deque(unsettled)
        self.deadlines: list[tuple[float, UUID]] = []
        self.orders: asyncio.Queue[Order] = asyncio.Queue(ORDERS_MAX)


class Keeper:
    """The one who changes the ledger. `service` is None while it starts, and nobody is answered then."""

    def __init__(self, settings: Settings, writers: Writers) -> None:
        self.service: Service | None = None
        self._settings = settings
        self._writers = writers
        self._epoch: int | None = None
        self._payments_max = settings.flush_payments_max
        self._flushed_at = time.monotonic()
        metrics.PENDING.set_function(lambda: len(self.service.ledger.pending) if self.service else 0)
        metrics.PENDING_OLDEST_SECONDS.set_function(lambda: oldest_seconds(self.service) if self.service else 0)
        metrics.FLUSH_NUMBER.set_function(lambda: self.service.ledger.flush if self.service else 0)
        metrics.FLUSH_AGE_SECONDS.set_function(lambda: time.monotonic() - self._flushed_at)

    async def run(self) -> None:
        """Start, flush each second, and start anew after what fails, until cancelled.

        Raises:
            OutdatedError: another cache has taken over.
        """
        while True:
            try:
                await self._serve()
            except database.ERRORS as error:
                database.report(log, "starting anew", error)
                metrics.STARTS.labels(type(error).__name__).inc()
                # It may have been too much for the time, or for one batch in it: less, until that one is alone.
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
            async with background(self._settle(service)):
                while True:
                    tick = time.monotonic()
                    await self._flush(connection, service)
                    service.ledger.forget(self.oldest_milliseconds())
                    await self._follow_schedule(connection, service)
                    await self._follow_orders(connection, service, tick + self._settings.flush_seconds)
        finally:
            if self.service:
                forgo_orders(self.service)
            self.service = None
            metrics.EPOCH.set(0)
            connection.terminate()

    async def _start(self, connection: Connection) -> Service:
        seconds = self._settings.flush_timeout_seconds
        with database.bounded(connection, seconds):
            epoch = await self._raise_epoch(connection)
            ledger = await flush.read_ledger(connection, first_id_at(self.oldest_milliseconds()))
            liquidity = await flush.catch_up(connection, epoch)
            followed = await windows.follow(connection, epoch, self._settings.clearing_schedule)
        await self._adopt(connection, epoch)
        schedule = Schedule(self._settings.clearing_schedule, followed.since)
        service = Service(epoch, ledger, liquidity, datetime.now(UTC), schedule, followed.unsettled)
        await self._flush(connection, service)
        return service

    async def _raise_epoch(self, connection: Connection) -> int:
        try:
            self._epoch = await flush.raise_epoch(connection, self._epoch)
        except database.ERRORS as error:
            if not database.failed_for_sure(error):
                self._epoch = None  # it may be raised: a higher one does not show that another cache has taken over
            raise
        return self._epoch

    async def _adopt(self, connection: Connection, epoch: int) -> None:
        """Take into the open window what a Polka without windows has posted: no later cache of its kind will."""
        is_left = True
        while is_left:
            with database.bounded(connection, self._settings.flush_timeout_seconds):
                is_left = await flush.adopt(connection, epoch, self._payments_max)

    async def _flush(self, connection: Connection, service: Service) -> None:
        """Post all that was committed when it began, and follow the policy that was in force before.

        Payments that were decided under an older one have ended by then, and so are posted.
        """
        with database.bounded(connection, self._settings.flush_timeout_seconds):
            policy = await bank_terms.newest(connection, service.ledger.policy)
        await self._post(connection, service)
        if policy is not service.ledger.policy:
            service.ledger.follow(policy)

    async def _post(self, connection: Connection, service: Service) -> None:
        """Post all that was committed when it began. Batches that are committed meanwhile do not keep it going."""
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
        """Close the open window if it is time, and settle what the schedule has closed.

        It goes by the database's time, and after a flush: what was committed while no cache ran is in the window.
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

    async def _follow_orders(self, connection: Connection, service: Service, until: float) -> None:
        """Do what is asked for, one order after the other, until it is time for the next flush.

        The orders that are queued by now are done first, however late the flush has become.
        """
        for _ in range(service.orders.qsize()):
            await follow_order(connection, service.orders.get_nowait())
        while (seconds := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(seconds):
                    order = await service.orders.get()
            except TimeoutError:
                return
            await follow_order(connection, order)

    async def close(self, window: int) -> Window | Conflict:
        """Close the window, with all that is committed by now in it.

        Raises:
            NotServingError: it was not begun.
            OutdatedError: another cache has taken over, and nothing was done.
        """
        service = self._serving()

        async def work(connection: Connection) -> Window | Conflict:
            await self._flush(connection, service)
            with database.bounded(connection, self._settings.flush_timeout_seconds):
                closed = await windows.close(connection, service.epoch, window, *next_batch(service))
            return absorb_step(service, closed) if isinstance(closed, windows.Done) else closed

        return await ordered(service, work)

    async def settle(self, window: int) -> Window | Conflict | None:
        """Bring the nets of a closed window to zero; None if there is no such window.

        Raises:
            NotServingError: it was not begun.
            OutdatedError: another cache has taken over, and nothing was done.
        """
        service = self._serving()

        async def work(connection: Connection) -> Window | Conflict | None:
            return await self._settle_window(connection, service, window)

        return await ordered(service, work)

    async def _settle_window(self, connection: Connection, service: Service, window: int) -> Window | Conflict | None:
        with database.bounded(connection, self._settings.flush_timeout_seconds):
            settled = await windows.settle(connection, service.epoch, window, *next_batch(service))
        return absorb_step(service, settled) if isinstance(settled, windows.Done) else settled

    async def follow(self, policy: int) -> Service:
        """Decide under this version of the policy, which is in force, or a later one: after a flush that begins now.

        Raises:
            NotServingError: it was not begun.
            OutdatedError: another cache has taken over.
        """
        service = self._serving()

        async def work(connection: Connection) -> None:
            if service.ledger.policy.version < policy:  # else an order before this one has followed it
                await self._flush(connection, service)

        if service.ledger.policy.version < policy:
            await ordered(service, work)
        return service

    def _serving(self) -> Service:
        if self.service is None:
            raise NotServingError
        return self.service

    async def _settle(self, service: Service) -> None:
        """Ask with tombstones what became of batches that are pending for too long. No clock decides it."""
        while True:
            now = time.monotonic()
            while service.deadlines and service.deadlines[0][0] <= now:
                _, batch = heapq.heappop(service.deadlines)
                if batch in service.ledger.pending:
                    await self._settle_batch(service, batch)
            await asyncio.sleep(self._settings.flush_seconds)

    async def _settle_batch(self, service: Service, batch: UUID) -> None:
        try:
            row = await self._writers.do(batches.settle, batch)
        except database.ERRORS as error:
            database.report(log, "a batch is not settled yet", error, batch=str(batch))
            state, number = "unknown", 0
        else:
            state, number = row["state"], row["flush"] or 0
        metrics.SETTLED.labels(state).inc()
        if state == "void" or (state == "posted" and number <= service.ledger.flush):
            service.ledger.finish(batch, number)
        elif state != "aside":
            self._expect(service, batch)

    def _expect(self, service: Service, batch: UUID) -> None:
        is_reserved = service.ledger.is_reserved(batch)
        seconds = self._settings.reservation_seconds if is_reserved else self._settings.pending_seconds
        heapq.heappush(service.deadlines, (time.monotonic() + seconds, batch))

    def hold(self, service: Service, told: Told) -> bool:
        """Take a batch that an api is committing as pending, and say whether it is."""
        hold = service.ledger.hold(told.batch, told.entries, told.replaces, self.oldest_milliseconds())
        metrics.TOLD.labels(hold.value).inc()
        log.debug("told of a batch: %s", hold.value, extra={"batch": str(told.batch)})
        traces.held(told.batch, hold.value)
        if hold is Hold.PENDING:
            self._expect(service, told.batch)
        return told.batch in service.ledger.pending

    def reserve(self, service: Service, asked: Asked) -> Reserved:
        """Reserve room under the caps for a batch that an api is about to commit."""
        ledger = service.ledger
        if asked.policy != ledger.policy.version:
            metrics.RESERVATIONS.labels("other policy").inc()
            return Reserved(service.epoch, ledger.policy.version, None)
        was_pending = asked.batch in ledger.pending
        refused = ledger.reserve(asked.batch, asked.units, asked.replaces, self.oldest_milliseconds())
        if asked.batch in ledger.pending and not was_pending:
            self._expect(service, asked.batch)
        answer = "too late" if refused is None else "refused" if refused else "reserved"
        metrics.RESERVATIONS.labels(answer).inc()
        log.debug("asked to reserve for a batch: %s", answer, extra={"batch": str(asked.batch)})
        traces.held(asked.batch, answer)
        return Reserved(service.epoch, asked.policy, refused)

    def oldest_milliseconds(self) -> int:
        """The earliest time at which a batch was made that a POST /balance may still speak of."""
        return int((time.time() - self._settings.late_seconds) * 1000)


async def ordered(service: Service, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Have the work done between two flushes; what it gives."""
    order = Order(work)
    try:
        service.orders.put_nowait(order)
    except asyncio.QueueFull:
        raise NotServingError from None
    result: T = await order.outcome
    return result


async def follow_order(connection: Connection, order: Order) -> None:
    try:
        result = await order.work(connection)
    except BaseException as error:
        order.fail(error)
        raise
    if not order.outcome.done():
        order.outcome.set_result(result)


def forgo_orders(service: Service) -> None:
    """Say of what was not begun that it was not."""
    while not service.orders.empty():
        service.orders.get_nowait().fail(NotServingError())


def next_batch(service: Service) -> tuple[int, UUID]:
    """The number of the next flush, and a new id, for a batch that the cache itself posts."""
    return service.ledger.flush + 1, UUID(str(uuid_utils.uuid7()))


def has_passed(flushed: Flushed, newest: UUID | None) -> bool:
    """Whether the flush has posted this batch, and so all older ones: a flush takes the oldest."""
    return newest is not None and any(batch.id >= newest for batch in (*flushed.posted, *flushed.aside))


def absorb(service: Service, flushed: Flushed) -> None:
    """Move what a flush has committed into memory. No `await` between: nobody sees half of it."""
    service.ledger.absorb(flushed.number, flushed.posted)
    for batch in flushed.aside:
        keep_aside(service, batch)
    service.liquidity.update(flushed.liquidity)
    service.as_of = flushed.at
    metrics.FLUSHES.inc()
    metrics.POSTED.inc(len(flushed.posted))
    if flushed.posted and log.isEnabledFor(logging.DEBUG):
        posted = [str(batch.id) for batch in flushed.posted]
        log.debug("a flush posted %d batches", len(posted), extra={"flush": flushed.number, "posted": posted})


def absorb_step(service: Service, done: windows.Done) -> Window:
    """Move what closing or settling a window has posted into memory; the window."""
    if done.flushed:
        absorb(service, done.flushed)
    return done.window


def keep_aside(service: Service, batch: Posted) -> None:
    """A batch that cannot be posted stays pending: what it would move is not free."""
    service.ledger.keep_aside(batch.id, batch.entries or service.ledger.pending.get(batch.id, ()))
    metrics.ASIDE.inc()
    log.error("a batch is set aside: its row cannot be posted", extra={"batch": str(batch.id)})


def oldest_seconds(service: Service) -> float:
    """The age of the oldest batch that is pending and not set aside; 0 where there is none."""
    made_at = service.ledger.oldest_milliseconds()
    return 0.0 if made_at is None else max(0.0, time.time() - made_at / 1000)


def as_of(service: Service) -> AsOf:
    return AsOf(service.ledger.flush, service.as_of)


def first_id_at(milliseconds: int) -> UUID:
    """The lowest version 7 id that could have been made then."""
    return UUID(int=milliseconds << 80)
