"""The running lanes. Each lane collects waiting operations into batches, and commits one batch after the other.

Operations that lower a capped balance go through the capped lane, where the cache reserves room before the commit.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import assert_never

from api import metrics
from api.cache_client import CacheClient
from api.http.refusals import INTERNAL, UNRECORDED, Refused
from api.posting import commits
from api.posting.batches import Batch, Pending, Reservation
from api.posting.beside import RETRY_SECONDS, Beside
from api.posting.callers import Callers
from api.posting.failures import Fate, fate_of, unrecorded
from api.posting.generations import Generations
from api.posting.lanes import LARGE, Lane, Lanes
from api.posting.operations import No
from api.posting.policies import Policies
from api.posting.reserving import Reserving
from api.settings import Settings
from polka.service import traces
from polka.service.background import background
from polka.service.counting import Times
from polka.store import database
from polka.store.database import Connection
from polka.store.writers import Patience

log = logging.getLogger(__name__)

FREE_WAIT, LARGE_WAIT, CAPPED_WAIT = (metrics.QUEUE_WAIT_SECONDS.labels(lane) for lane in ("free", "large", "capped"))


class Writer:
    """Commits the operations in the lanes."""

    def __init__(
        self,
        settings: Settings,
        cache: CacheClient,
        policies: Policies,
        lanes: Lanes,
        callers: Callers,
        beside: Beside,
        generations: Generations,
    ) -> None:
        self._settings = settings
        self._patience = Patience(settings.commit_timeout_seconds + 1)
        self._cache = cache
        self._reserving = Reserving(cache, policies, lanes.capped, beside)
        self._policies = policies
        self._lanes = lanes
        self._callers = callers
        self._beside = beside
        self._generations = generations

    async def run(self) -> None:
        """Commit arriving operations, batch after batch in each lane, until cancelled.

        Large operations have their own lane, so that a payment does not wait for a thousand others. The capped lane has
        two runners: while one commits, the other reserves room for the next batch.
        """
        async with (
            background(self._run_capped()),
            background(self._run_capped()),
            background(self._run(self._lanes.large)),
        ):
            await self._run(self._lanes.free)

    async def rest(self, timeout_seconds: float) -> None:
        """Wait at most this long until no commit is in flight."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                for lane in self._lanes:
                    async with lane.collecting, lane.committing:
                        pass

    async def _run(self, lane: Lane) -> None:
        try:
            while True:
                await lane.arrival()
                async with lane.committing:
                    connection = await self._connection(lane)
                    if connection and (collected := self._collect(lane)):
                        with traces.batch(one.span for one in collected):
                            await self._tell_and_commit(connection, collected)
        finally:
            lane.close()

    async def _run_capped(self) -> None:
        lane = self._lanes.capped
        try:
            while True:
                await lane.arrival()
                with ExitStack() as traced:
                    await self._take_turn(lane, traced)
        finally:
            lane.close()

    async def _take_turn(self, lane: Lane, traced: ExitStack) -> None:
        async with lane.collecting:
            is_connected = await self._connection(lane)
            if not is_connected or not (collected := self._collect(lane)):
                return
            traced.enter_context(traces.batch(one.span for one in collected))
            reservation = await self._reserving.reserve(collected)
            if reservation is None:
                return
            await lane.committing.acquire()
        try:
            await self._commit_reserved(lane, reservation)
        finally:
            lane.committing.release()

    async def _connection(self, lane: Lane) -> Connection | None:
        """The lane's connection. Without a connection, all waiting operations are refused."""
        try:
            return await lane.connected()
        except database.ERRORS as error:
            database.report(log, "the database does not answer", error)
            self._callers.answer(lane.take(), unrecorded(error))
            return None

    def _collect(self, lane: Lane) -> list[Pending]:
        """The next batch: operations with waiting callers, decided under the known policy."""
        policy = self._policies.current
        collected: list[Pending] = []
        refused: list[tuple[Pending, No]] = []
        for pending in lane.take():
            if not pending.waiters:
                continue
            if pending.policy is not policy:
                decided = pending.operation.under(policy)
                if isinstance(decided, (Refused, list)):
                    refused.append((pending, decided))
                    continue
                pending.decide(decided, policy)
                if (other := self._lanes.of(decided, policy)) is not lane:
                    other.put(pending)
                    continue
            collected.append(pending)
        self._beside.refuse(refused)
        return collected

    async def _tell_and_commit(self, connection: Connection, collected: Sequence[Pending]) -> None:
        batch = Batch(collected)
        self._cache.tell(batch.telling(self._beside.take_failed()))
        await self._commit(connection, batch)

    async def _commit_reserved(self, lane: Lane, reservation: Reservation) -> None:
        """Commit the operations that have a reservation and a waiting caller."""
        connection = await self._connection(lane)
        if accepted := [pending for pending in reservation.accepted if pending.waiters]:
            if connection:
                await self._commit(connection, Batch(accepted, reservation.batch, reservation.epoch))
                return
            self._callers.answer(accepted, UNRECORDED)
        self._beside.fail(reservation.batch)

    async def _commit(self, connection: Connection, batch: Batch) -> None:
        began = time.perf_counter()
        try:
            with traces.part("commit", batch.id), self._patience.bounds(connection):
                at = await commits.commit(connection, batch, await self._generations.present(connection))
        except database.ERRORS as error:
            await self._after_failure(connection, batch, error)
        else:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
            metrics.COMMIT_PAYMENTS.observe(batch.size)
            waited = wait_of(batch)
            for pending in batch.pending:
                waited.observe(began - pending.arrived)
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%d operations are committed", batch.size, extra=batch.names())
            # The lane's next commit begins first, so that the database works while this process writes the answers.
            asyncio.get_running_loop().call_soon(self._callers.accept, batch, at)

    async def _after_failure(self, connection: Connection, batch: Batch, error: Exception) -> None:
        metrics.COMMIT_FAILURES.labels(type(error).__name__).inc()
        match fate_of(error):
            case Fate.UNKNOWN:
                log.warning("the outcome of a commit is unknown: %r", error, extra=batch.names())
                connection.terminate()
                self._beside.settle(batch)
            case Fate.STALE_POLICY:
                with database.bounded(connection, self._settings.commit_timeout_seconds + 1):
                    await self._policies.try_reading(connection)
                self._beside.try_again(batch)
            case Fate.OUTDATED_KEYS:
                self._generations.forget()
                self._beside.try_again(batch)
            case Fate.PASSING:
                self._beside.try_again(batch)
            case Fate.BAD_DATA:
                await self._single_out(batch, error)
            case Fate.FAILED:
                database.report(log, "a commit failed", error, **batch.names())
                self._callers.answer(batch.pending, unrecorded(error))
                await asyncio.sleep(RETRY_SECONDS)
            case fate:
                assert_never(fate)

    async def _single_out(self, batch: Batch, error: Exception) -> None:
        """The database rejects an operation that our checks should have rejected: only this operation fails.

        Each half of the batch becomes a batch of its own, until the operation is alone. A batch of 512 takes about
        twenty commits, while the rest of the lane waits.
        """
        if len(batch.pending) == 1:
            log.error("the database refuses an operation: %s", database.reason(error), extra=batch.names())
            self._beside.fail(batch.id)
            self._callers.answer(batch.pending, INTERNAL)
            return
        middle = len(batch.pending) // 2
        for half in (batch.pending[:middle], batch.pending[middle:]):
            for pending in half:
                pending.replaces = batch.id
            if batch.epoch is None:
                await self._commit_half(half)
            elif reservation := await self._reserving.reserve(half):
                await self._commit_reserved(self._lanes.capped, reservation)

    async def _commit_half(self, half: Sequence[Pending]) -> None:
        """Commit over the lane's connection, which may have changed since the previous half."""
        if connection := await self._connection(self._lanes.free):
            await self._tell_and_commit(connection, half)
        else:
            self._callers.answer(half, UNRECORDED)


def wait_of(batch: Batch) -> Times:
    """The histogram for the time that the batch's operations have waited in their lane."""
    if batch.epoch is not None:
        return CAPPED_WAIT
    return LARGE_WAIT if batch.pending[0].size > LARGE else FREE_WAIT
