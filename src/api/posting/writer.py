"""The lanes at work: what waits is collected into batches, and each is committed, one after the other in each lane.

What lowers a balance that has a cap goes another lane: the cache is asked to reserve before the commit.
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
    """Commits what waits in the lanes."""

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
        """Commit what arrives, batch after batch in each lane, until cancelled.

        Large operations have a lane of their own, so that a payment does not wait for a thousand others. Two take turns
        in the capped lane: while one commits, the other has room reserved for the next batch.
        """
        async with (
            background(self._run_capped()),
            background(self._run_capped()),
            background(self._run(self._lanes.large)),
        ):
            await self._run(self._lanes.free)

    async def rest(self, timeout_seconds: float) -> None:
        """Wait until no commit is in flight, at most this long."""
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
        """The lane's connection; without one, all that waits is told so."""
        try:
            return await lane.connected()
        except database.ERRORS as error:
            database.report(log, "the database does not answer", error)
            self._callers.answer(lane.take(), unrecorded(error))
            return None

    def _collect(self, lane: Lane) -> list[Pending]:
        """The next batch's operations: those whose callers still wait, decided under the policy that is known now."""
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
        """Commit what room is reserved for and somebody still waits for."""
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
            self._callers.accept(batch, at)

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
        """The database rejects an operation that our checks should have rejected: only that operation fails.

        Each half of the batch is a batch of its own, until the operation is alone. So a batch of 512 takes some
        twenty commits, while the others in the lane wait.
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
        """Commit it over the lane's connection, which may be another one since the half before."""
        if connection := await self._connection(self._lanes.free):
            await self._tell_and_commit(connection, half)
        else:
            self._callers.answer(half, UNRECORDED)


def wait_of(batch: Batch) -> Times:
    """Where the time that the batch's operations have waited in their lane is counted."""
    if batch.epoch is not None:
        return CAPPED_WAIT
    return LARGE_WAIT if batch.pending[0].size > LARGE else FREE_WAIT
