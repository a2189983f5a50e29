"""Posting, the api's part: collects operations into batches, commits each, and gives every caller a certain answer.

While one commit is in flight, arriving operations wait and go together in the next: no timer, no delay when idle.
What lowers a balance that has a cap goes another lane: the cache is asked to reserve before the commit.
The protocol is described in docs/posting.md; what must not be left out is said where it stands.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from uuid_utils import UUID

from api import metrics
from api.cache_client import CacheClient
from api.http.refusals import Refusal, Refused
from api.posting import commits
from api.posting.batches import Accepted, Batch, Outcome, Pending, Reservation, Wish
from api.posting.commits import Answer
from api.posting.lanes import Lane
from api.posting.operations import Change, Key, No, Operation, lowers_capped
from api.posting.policies import Policies
from api.settings import Settings
from polka.rules.messages import Reserved
from polka.rules.policy import Policy
from polka.service import traces
from polka.service.background import background
from polka.service.counting import Times
from polka.store import bank_terms, batches, database
from polka.store.database import Connection
from polka.store.writers import Patience, Writers

log = logging.getLogger(__name__)

TRY_AGAIN = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
RETRY_SECONDS = 0.2
ASK_AGAIN_SECONDS = 0.05
DRAIN_SECONDS = 10.0
LARGE = 100
"""An operation of more payments is large: others do not wait for its commit."""
FREE_WAIT, LARGE_WAIT, CAPPED_WAIT = (metrics.QUEUE_WAIT_SECONDS.labels(lane) for lane in ("free", "large", "capped"))


@asynccontextmanager
async def open_posting(
    settings: Settings, writers: Writers, cache: CacheClient, policies: Policies
) -> AsyncIterator["Posting"]:
    """Lanes at work, with connections of their own: no reader holds them up. At the end they settle what is open."""
    posting = Posting(settings, writers, cache, policies)
    async with background(posting.run()):
        yield posting
        await posting.settled()


class Posting:
    """What writes in an api process: its lanes, and what is known of recent keys.

    Its `writers` ask and record the rest, beside the lanes.
    """

    def __init__(self, settings: Settings, writers: Writers, cache: CacheClient, policies: Policies) -> None:
        self._settings = settings
        self._writers = writers
        self._patience = Patience(settings.commit_timeout_seconds + 1)
        self._cache = cache
        self._policies = policies
        self._free = Lane(settings, "free", "api writer")
        self._large = Lane(settings, "large", "api large writer")
        self._capped = Lane(settings, "capped", "api capped writer")
        self._in_flight: dict[Key, Pending] = {}
        self._changing: set[str] = set()
        self._recent: OrderedDict[Key, Answer] = OrderedDict()
        self._failed: list[UUID] = []
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def lanes(self) -> Sequence[Lane]:
        return self._free, self._large, self._capped

    async def post(self, operation: Operation, key: Key | None, timeout_seconds: float) -> Outcome:
        """The operation's outcome, once it is certain or the time is up."""
        fingerprint = operation.fingerprint if key else ""
        if key and (answer := self._recent.get(key)):
            return replay(answer, fingerprint)
        if key and (same := self._in_flight.get(key)):
            if same.fingerprint != fingerprint:
                return KEY_REUSED
            return as_replay(await self._wait(same, timeout_seconds))
        policy = self._policies.current
        decided = operation.under(policy)
        if isinstance(decided, (Refused, list)):
            return await self._refuse_by_policy(operation, key, timeout_seconds)
        if timeout_seconds <= 0:
            return TIMEOUT
        lane = self._lane_of(decided, policy)
        if not lane.has_room(operation):
            return OVERLOADED
        if isinstance(operation, Change):
            if operation.old.id in self._changing:
                return await self.refuse(operation.fingerprint, key, CHANGED_MEANWHILE, timeout_seconds)
            self._changing.add(operation.old.id)
        pending = Pending(operation, key, fingerprint, decided, policy)
        if key:
            self._in_flight[key] = pending
        lane.put(pending)
        return await self._wait(pending, timeout_seconds)

    def _lane_of(self, decided: Operation, policy: Policy) -> Lane:
        if policy.caps and lowers_capped(decided, policy.caps):
            return self._capped
        return self._large if decided.size > LARGE else self._free

    async def known(self, key: Key, fingerprint: str) -> Outcome | None:
        """What the key's first request was answered with, if it was: looked up ahead of a large request."""
        answer = await self.answer_of(key)
        return replay(answer, fingerprint) if answer else None

    async def answer_of(self, key: Key) -> Answer | None:
        """What the key's first request was answered with, if it was."""
        return (await self._writers.do(commits.answers, [key])).get(key)

    async def refuse(self, fingerprint: str, key: Key | None, refused: Refused, timeout_seconds: float) -> Outcome:
        """Answer with this refusal, unless the key has an answer already.

        The key is taken for it first. That waits for a commit in flight, of the same request through another
        api: without it a client could be told no, and find later that its payment went through.
        """
        [outcome] = await self._refuse_all([(key, fingerprint, refused)], timeout_seconds)
        return outcome

    async def _refuse_all(self, refused: Sequence[tuple[Key | None, str, No]], timeout_seconds: float) -> list[Outcome]:
        """The same for many operations, of which a bulk request may be one whose items are all refused."""
        if timeout_seconds <= 0:
            return [TIMEOUT] * len(refused)
        keyed = [
            (key, fingerprint, [item.stored() for item in no] if isinstance(no, list) else no)
            for key, fingerprint, no in refused
            if key
        ]

        is_begun = False

        async def take_keys(connection: Connection) -> dict[Key, Answer]:
            nonlocal is_begun
            is_begun = True
            await commits.take_keys(connection, keyed)
            return await commits.answers(connection, [key for key, _, _ in keyed])

        known: dict[Key, Answer] = {}
        if keyed:
            try:
                async with asyncio.timeout(timeout_seconds):
                    known = await self._writers.do(take_keys)
            except TimeoutError:
                return [OUTCOME_UNKNOWN_IN_TIME if is_begun else TIMEOUT] * len(refused)
            except database.ERRORS as error:
                database.report(log, "refusals could not be recorded", error)
                unknown = is_begun and database.is_passing(error)
                return [OUTCOME_UNKNOWN if unknown else unrecorded(error)] * len(refused)
        return [replay(known[key], fingerprint) if key else first_answer(no) for key, fingerprint, no in refused]

    async def _refuse_by_policy(self, operation: Operation, key: Key | None, timeout_seconds: float) -> Outcome:
        """Refuse what the policy forbids, if it still does: what is known here may be outdated."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                policy = await self._policies.read()
        except TimeoutError:
            return TIMEOUT
        except database.ERRORS as error:
            database.report(log, "the policy could not be read", error)
            return unrecorded(error)
        decided = operation.under(policy)
        if isinstance(decided, (Refused, list)):
            [outcome] = await self._refuse_all([(key, operation.fingerprint, decided)], deadline - loop.time())
            return outcome
        return await self.post(operation, key, deadline - loop.time())

    async def _wait(self, pending: Pending, timeout_seconds: float) -> Outcome:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outcome] = loop.create_future()
        pending.waiters.append(waiter)
        timer = loop.call_later(timeout_seconds, self._give_up, pending, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:  # the server stops, and has waited long enough: the caller hears what is true
            return self._leave(pending, waiter) if waiter.cancelled() else waiter.result()
        finally:
            timer.cancel()

    def _give_up(self, pending: Pending, waiter: asyncio.Future[Outcome]) -> None:
        if not waiter.done():
            waiter.set_result(self._leave(pending, waiter))

    def _leave(self, pending: Pending, waiter: asyncio.Future[Outcome]) -> Refused:
        """What one caller is told who waits no longer. Where nobody waits, what is not in a commit never will be."""
        if waiter in pending.waiters:  # its answer may have come between a cancellation and now
            pending.waiters.remove(waiter)
        if pending.is_committing:
            return OUTCOME_UNKNOWN_IN_TIME
        if not pending.waiters:
            self._forget(pending)
        is_unchecked = self._capped.is_unchecked and self._lane_of(pending.decided, pending.policy) is self._capped
        return CAP_UNCHECKED if is_unchecked else TIMEOUT

    def _forget(self, pending: Pending) -> None:
        if pending.key:
            self._in_flight.pop(pending.key, None)
        if isinstance(pending.operation, Change):
            self._changing.discard(pending.operation.old.id)

    async def run(self) -> None:
        """Commit what arrives, batch after batch in each lane, until cancelled.

        Large operations have a lane of their own, so that a payment does not wait for a thousand others. Two take turns
        in the capped lane: while one commits, the other has room reserved for the next batch.
        """
        async with background(self._run_capped()), background(self._run_capped()), background(self._run(self._large)):
            await self._run(self._free)

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
        lane = self._capped
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
            reservation = await self._reserve(collected)
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
            self._answer(lane.take(), unrecorded(error))
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
                if (other := self._lane_of(decided, policy)) is not lane:
                    other.put(pending)
                    continue
            collected.append(pending)
        self._refuse_beside(refused)
        return collected

    def _refuse_beside(self, refused: Sequence[tuple[Pending, No]]) -> None:
        """Refuse what waited to be committed; batches go on meanwhile."""
        if not refused:
            return
        for pending, _ in refused:
            pending.is_committing = True  # it may be answered at any moment, by what another api has made of it

        async def work() -> None:
            rows = [(pending.key, pending.fingerprint, no) for pending, no in refused]
            outcomes = await self._refuse_all(rows, self._settings.commit_timeout_seconds)
            for (pending, _), outcome in zip(refused, outcomes, strict=True):
                self._answer([pending], outcome)

        self._beside([pending for pending, _ in refused], work())

    async def _tell_and_commit(self, connection: Connection, collected: Sequence[Pending]) -> None:
        batch = Batch(collected)
        self._cache.tell(batch.telling(self._failed))
        self._failed.clear()
        await self._commit(connection, batch)

    async def _reserve(self, collected: Sequence[Pending]) -> Reservation | None:
        """Have the cache reserve room under the caps, and refuse what it has none for; None where nothing is left."""
        failed, self._failed = self._failed, []
        wish = Wish(collected, failed)
        with traces.part("reserve", wish.id):
            reserved = await self._reserved(wish)
        if reserved is None:
            self._failed += failed
            self._go_again(wish.id, collected)
            return None
        accepted: list[Pending] = []
        refused: list[tuple[Pending, No]] = []
        for pending, decided in wish.outcomes(reserved.refused or {}):
            if not isinstance(decided, (Refused, list)):
                pending.decide(decided, pending.policy)
                accepted.append(pending)
            elif pending.waiters:  # else its caller was told that nothing was recorded
                refused.append((pending, decided))
        self._refuse_beside(refused)
        return Reservation(wish.id, reserved.epoch, accepted) if accepted else None

    async def _commit_reserved(self, lane: Lane, reservation: Reservation) -> None:
        """Commit what room is reserved for and somebody still waits for."""
        connection = await self._connection(lane)
        if accepted := [pending for pending in reservation.accepted if pending.waiters]:
            if connection:
                await self._commit(connection, Batch(accepted, reservation.batch, reservation.epoch))
                return
            self._answer(accepted, DATABASE_AWAY)
        self._failed.append(reservation.batch)

    async def _reserved(self, wish: Wish) -> Reserved | None:
        """The cache's answer, asked for as long as somebody waits; None where the operations are to go again."""
        while True:
            reserved = await self._cache.reserve(wish.asking)
            self._capped.is_unchecked = reserved is None
            if reserved is not None:
                if reserved.refused is not None:
                    return reserved
                await self._policies.try_reading()
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            is_outdated = reserved is not None or self._policies.current is not wish.pending[0].policy
            if is_outdated or not any(one.waiters for one in wish.pending):
                return None

    def _go_again(self, failed: UUID, operations: Iterable[Pending]) -> None:
        """Have those for whom somebody waits go under a new id, which replaces the one that has failed for sure."""
        remaining = []
        for pending in operations:
            if pending.waiters:
                pending.is_committing, pending.replaces = False, failed
                remaining.append(pending)
            else:
                self._forget(pending)
        if not remaining:
            self._failed.append(failed)
            return
        self._lane_of(remaining[0].decided, remaining[0].policy).put_back(remaining)

    async def _commit(self, connection: Connection, batch: Batch) -> None:
        began = time.perf_counter()
        try:
            with traces.part("commit", batch.id), self._patience.bounds(connection):
                at = await commits.commit(connection, batch)
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
            self._accept(batch, at)

    def _accept(self, batch: Batch, at: datetime) -> None:
        name = str(batch.id)
        for pending in batch.pending:
            result = pending.decided.result(name, at)
            self._forget(pending)
            if pending.key:
                self._remember(pending.key, Answer(pending.fingerprint, result))
            pending.answer(Accepted(result))

    def _answer(self, answered: Iterable[Pending], outcome: Outcome) -> None:
        for pending in answered:
            self._forget(pending)
            pending.answer(outcome)

    def _remember(self, key: Key, answer: Answer) -> None:
        if isinstance(answer.outcome, list):
            return  # a bulk request's answer is large, and is looked up ahead of it anyway
        self._recent[key] = answer
        if len(self._recent) > self._settings.recent_keys_max:
            self._recent.popitem(last=False)

    async def _after_failure(self, connection: Connection, batch: Batch, error: Exception) -> None:
        metrics.COMMIT_FAILURES.labels(type(error).__name__).inc()
        if not database.failed_for_sure(error):
            log.warning("the outcome of a commit is unknown: %r", error, extra=batch.names())
            connection.terminate()
            self._beside(batch.pending, self._settle(batch))
        elif bank_terms.is_stale(error):
            with database.bounded(connection, self._settings.commit_timeout_seconds + 1):
                await self._policies.try_reading(connection)
            self._beside(batch.pending, self._try_again(batch))
        elif isinstance(error, TRY_AGAIN) or commits.is_outdated(error):
            self._beside(batch.pending, self._try_again(batch))
        elif isinstance(error, (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)):
            await self._single_out(batch, error)
        else:
            database.report(log, "a commit failed", error, **batch.names())
            self._answer(batch.pending, unrecorded(error))
            await asyncio.sleep(RETRY_SECONDS)

    def _beside(self, operations: Sequence[Pending], work: Coroutine[Any, Any, None]) -> None:
        """Do what these operations need now; batches go on meanwhile."""

        async def whatever_happens() -> None:
            try:
                await work
            except Exception:
                requests = [pending.request for pending in operations]
                log.exception("operations could not be settled", extra={"requests": requests})
                self._answer(operations, OUTCOME_UNKNOWN)

        task = asyncio.create_task(whatever_happens())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, batch: Batch) -> None:
        """Find out what became of a commit whose answer was lost."""
        while True:
            try:
                row = await self._writers.do(batches.settle, batch.id)
            except database.ERRORS as error:
                database.report(log, "a batch is not settled yet", error, **batch.names())
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        if row["state"] == "void":
            await self._try_again(batch)
        else:
            self._accept(batch, row["created_at"])

    async def _try_again(self, batch: Batch) -> None:
        """After a failure that is certain: what has an answer by now gets it, the rest goes under a new id."""
        keys = [pending.key for pending in batch.pending if pending.key]
        changes = [pending.operation.old.id for pending in batch.pending if isinstance(pending.operation, Change)]
        try:
            versions, known = await self._writers.do(what_became, changes, keys)
        except database.ERRORS as error:
            database.report(log, "keys could not be looked up", error, **batch.names())
            self._answer(batch.pending, unrecorded(error))
            return
        remaining = []
        for pending in batch.pending:
            key, operation = pending.key, pending.operation
            if key and (answer := known.get(key)):
                self._forget(pending)
                self._remember(key, answer)
                pending.answer(replay(answer, pending.fingerprint))
            elif isinstance(operation, Change) and versions[operation.old.id] != operation.old.version:
                self._forget(pending)
                seconds = self._settings.commit_timeout_seconds
                pending.answer(await self.refuse(pending.fingerprint, key, CHANGED_MEANWHILE, seconds))
            else:
                remaining.append(pending)
        if len(remaining) == len(batch.pending):
            await asyncio.sleep(RETRY_SECONDS / 10)  # whatever stopped it may still be there
        self._go_again(batch.id, remaining)

    async def _single_out(self, batch: Batch, error: Exception) -> None:
        """The database rejects an operation that our checks should have rejected: only that operation fails.

        Each half of the batch is a batch of its own, until the operation is alone. So a batch of 512 takes some
        twenty commits, while the others in the lane wait.
        """
        if len(batch.pending) == 1:
            log.error("the database refuses an operation: %s", database.reason(error), extra=batch.names())
            self._failed.append(batch.id)
            self._answer(batch.pending, INTERNAL)
            return
        middle = len(batch.pending) // 2
        for half in (batch.pending[:middle], batch.pending[middle:]):
            for pending in half:
                pending.replaces = batch.id
            if batch.epoch is None:
                await self._commit_half(half)
            elif reservation := await self._reserve(half):
                await self._commit_reserved(self._capped, reservation)

    async def _commit_half(self, half: Sequence[Pending]) -> None:
        """Commit it over the lane's connection, which may be another one since the half before."""
        if connection := await self._connection(self._free):
            await self._tell_and_commit(connection, half)
        else:
            self._answer(half, DATABASE_AWAY)

    async def settled(self) -> None:
        """Wait until no commit's outcome is unknown, for a while: after that only the database knows."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                for lane in self.lanes:
                    async with lane.collecting, lane.committing:
                        pass  # a commit in flight has ended
        if self._settling:
            _, unsettled = await asyncio.wait(self._settling, timeout=DRAIN_SECONDS)
            for task in unsettled:
                task.cancel()


async def what_became(
    connection: Connection, changes: Sequence[str], keys: Sequence[Key]
) -> tuple[dict[str, int], dict[Key, Answer]]:
    """The newest versions of payments, and the answers of keys."""
    versions = await commits.versions(connection, changes) if changes else {}
    return versions, await commits.answers(connection, keys) if keys else {}


def wait_of(batch: Batch) -> Times:
    """Where the time that the batch's operations have waited in their lane is counted."""
    if batch.epoch is not None:
        return CAPPED_WAIT
    return LARGE_WAIT if batch.pending[0].size > LARGE else FREE_WAIT


def first_answer(no: No) -> Outcome:
    return Accepted([*no]) if isinstance(no, list) else no


def replay(answer: Answer, fingerprint: str) -> Outcome:
    """The first answer again; a key that belongs to another request is refused."""
    if answer.fingerprint != fingerprint:
        return KEY_REUSED
    if isinstance(answer.outcome, Refused):
        return answer.outcome
    return Accepted(answer.outcome, replayed=True)


def as_replay(outcome: Outcome) -> Outcome:
    return Accepted(outcome.result, replayed=True) if isinstance(outcome, Accepted) else outcome


def unrecorded(error: Exception) -> Refused:
    """The refusal of operations that a failed call to the database has kept from being recorded."""
    return DATABASE_AWAY if database.is_passing(error) else INTERNAL


KEY_REUSED = Refused(Refusal.KEY_REUSED, "This Idempotency-Key was used with another body.", field="Idempotency-Key")
DATABASE_AWAY = Refused(Refusal.DATABASE_AWAY, "Nothing was recorded by this attempt; try again.")
OVERLOADED = Refused(Refusal.OVERLOADED, "The queue is full: nothing was recorded by this attempt; try again.")
TIMEOUT = Refused(Refusal.TIMEOUT, "The request was still queued: nothing was recorded by this attempt.")
CAP_UNCHECKED = Refused(
    Refusal.CAP_UNCHECKED,
    "The cache, which checks caps, does not answer: nothing was recorded by this attempt; try again.",
)
OUTCOME_UNKNOWN_IN_TIME = Refused(
    Refusal.OUTCOME_UNKNOWN_IN_TIME,
    "The commit has not answered yet. Repeat the request with the same Idempotency-Key to learn its result.",
)
OUTCOME_UNKNOWN = Refused(
    Refusal.OUTCOME_UNKNOWN, "Repeat the request with the same Idempotency-Key to learn its result."
)
CHANGED_MEANWHILE = Refused(Refusal.CONFLICT, "Another request changed this payment at the same time, and was first.")
INTERNAL = Refused(Refusal.INTERNAL, "The request could not be recorded; nothing was.")
