"""Posting, the api's part: collects operations into batches, commits each, and gives every caller a certain answer.

While one commit is in flight, arriving operations wait and go together in the next: no timer, no delay when idle.
The protocol is described in docs/posting.md; what must not be left out is said where it stands.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from uuid_utils import UUID

from api import commits, metrics
from api.batches import Accepted, Batch, Outcome, Pending
from api.cache_client import CacheClient
from api.commits import Answer
from api.operations import Bulk, Change, Key, Operation, nothing_to_do
from api.policies import Policies
from api.refusals import Refusal, Refused
from api.settings import Settings
from polka import bank_terms, batches, database
from polka.background import background
from polka.database import Connection, Pool

log = logging.getLogger(__name__)

TRY_AGAIN = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
RETRY_SECONDS = 0.2
DRAIN_SECONDS = 10.0
SETTLING_CONNECTIONS = 2


@asynccontextmanager
async def open_posting(settings: Settings, cache: CacheClient, policies: Policies) -> AsyncIterator["Posting"]:
    """A writer at work, with connections of its own: no reader holds it up. At the end it settles what is unsettled."""
    seconds = settings.commit_timeout_seconds
    async with database.pool(settings.database_url, "api settling", SETTLING_CONNECTIONS, seconds) as pool:
        posting = Posting(settings, pool, cache, policies)
        async with background(posting.run()):
            yield posting
            await posting.settled()


class Posting:
    """The one writer of an api process: a queue, a connection of its own, and what is known of recent keys.

    Whatever else it has to ask or say goes through its `pool`, beside the writer.
    """

    def __init__(self, settings: Settings, pool: Pool, cache: CacheClient, policies: Policies) -> None:
        self._settings = settings
        self._pool = pool
        self._cache = cache
        self._policies = policies
        self._connection: Connection | None = None
        self._queue: deque[Pending] = deque()
        self._queued_payments = 0
        self._arrived = asyncio.Event()
        self._in_flight: dict[Key, Pending] = {}
        self._changing: set[str] = set()
        self._recent: OrderedDict[Key, Answer] = OrderedDict()
        self._failed: list[UUID] = []
        self._committing = asyncio.Lock()
        self._settling: set[asyncio.Task[None]] = set()
        metrics.QUEUE.set_function(lambda: self._queued_payments)

    async def post(self, operation: Operation, key: Key | None, timeout_seconds: float) -> Outcome:
        """The operation's outcome, once it is certain or the time is up."""
        fingerprint = operation.fingerprint if key else ""
        if key and (answer := self._recent.get(key)):
            return replay(answer, fingerprint)
        if key and (same := self._in_flight.get(key)):
            if same.fingerprint != fingerprint:
                return KEY_REUSED
            return as_replay(await self._wait(same, timeout_seconds))
        if self._queue and self._queued_payments + operation.size > self._settings.queue_payments_max:
            return OVERLOADED
        policy = self._policies.current
        decided = operation.under(policy)
        if isinstance(decided, Refused) or not decided.size:
            return await self._refuse_by_policy(operation, key, timeout_seconds)
        if isinstance(operation, Change):
            if operation.old.id in self._changing:
                return await self.refuse(operation.fingerprint, key, CHANGED_MEANWHILE, timeout_seconds)
            self._changing.add(operation.old.id)
        pending = Pending(operation, key, fingerprint, decided, policy)
        if key:
            self._in_flight[key] = pending
        self._queue.append(pending)
        self._queued_payments += operation.size
        self._arrived.set()
        return await self._wait(pending, timeout_seconds)

    async def known(self, key: Key, fingerprint: str) -> Outcome | None:
        """What the key's first request was answered with, if it was: looked up ahead of a large request."""
        answer = (await commits.answers(self._pool, [key])).get(key)
        return replay(answer, fingerprint) if answer else None

    async def refuse(self, fingerprint: str, key: Key | None, refused: Refused, timeout_seconds: float) -> Outcome:
        """Answer with this refusal, unless the key has an answer already.

        The key is taken for it first. That waits for a commit in flight, of the same request through another
        api: without it a client could be told no, and find later that its payment went through.
        """
        return await self._answer_apart(fingerprint, key, refused, refused, timeout_seconds)

    async def _refuse_by_policy(self, operation: Operation, key: Key | None, timeout_seconds: float) -> Outcome:
        """Refuse what the policy forbids, if it still does: what is known here may be outdated."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                policy = await self._policies.read(self._pool)
        except TimeoutError:
            return TIMEOUT
        except database.ERRORS as error:
            log.warning("the policy could not be read: %r", error)
            return DATABASE_AWAY
        if no := nothing_to_do(operation.under(policy)):
            return await self._refuse_decided(operation, key, no, deadline - loop.time())
        return await self.post(operation, key, deadline - loop.time())

    async def _refuse_decided(
        self, operation: Operation, key: Key | None, no: Refused | Bulk, timeout_seconds: float
    ) -> Outcome:
        """Refuse the operation, or each item of a bulk request."""
        if isinstance(no, Refused):
            return await self.refuse(operation.fingerprint, key, no, timeout_seconds)
        first = Accepted([item for item in no.items if isinstance(item, Refused)])
        return await self._answer_apart(operation.fingerprint, key, no.stored(), first, timeout_seconds)

    async def _answer_apart(
        self, fingerprint: str, key: Key | None, stored: Refused | list[Any], first: Outcome, timeout_seconds: float
    ) -> Outcome:
        if key is None:
            return first
        try:
            async with asyncio.timeout(timeout_seconds):
                await commits.take_key(self._pool, key, fingerprint, stored)
                known = await commits.answers(self._pool, [key])
        except TimeoutError:
            return OUTCOME_UNKNOWN_IN_TIME
        except database.ERRORS as error:
            log.warning("a refusal could not be recorded: %r", error)
            return DATABASE_AWAY
        return replay(known[key], fingerprint)

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
        return TIMEOUT

    def _forget(self, pending: Pending) -> None:
        if pending.key:
            self._in_flight.pop(pending.key, None)
        if isinstance(pending.operation, Change):
            self._changing.discard(pending.operation.old.id)

    async def run(self) -> None:
        """Commit what arrives, batch after batch, until cancelled."""
        try:
            while True:
                await self._arrived.wait()
                async with self._committing:
                    await self._commit_next()
        finally:
            if self._connection:
                self._connection.terminate()

    async def _commit_next(self) -> None:
        try:
            connection = await self._connected()
        except database.ERRORS as error:
            log.warning("the database does not answer: %r", error)
            self._answer(self._collect(), DATABASE_AWAY)
            return
        if collected := self._collect():
            await self._commit(connection, Batch(collected))

    def _collect(self) -> list[Pending]:
        """The next batch's operations: as many as fit, at least one."""
        collected: list[Pending] = []
        size = 0
        while self._queue and (not size or size + self._queue[0].operation.size <= self._settings.batch_size_max):
            pending = self._queue.popleft()
            self._queued_payments -= pending.operation.size
            if pending.waiters and self._is_to_do(pending):
                collected.append(pending)
                size += pending.decided.size
        if not self._queue:
            self._arrived.clear()
        return collected

    def _is_to_do(self, pending: Pending) -> bool:
        """Decide anew where the policy has changed since; what it forbids by now is refused."""
        policy = self._policies.current
        if pending.policy is policy:
            return True
        decided = pending.operation.under(policy)
        if no := nothing_to_do(decided):
            pending.is_committing = True  # it may be answered at any moment
            self._beside([pending], self._refuse_pending(pending, no))
        elif not isinstance(decided, Refused):
            pending.decided, pending.policy = decided, policy
        return no is None

    async def _refuse_pending(self, pending: Pending, no: Refused | Bulk) -> None:
        seconds = self._settings.commit_timeout_seconds
        outcome = await self._refuse_decided(pending.operation, pending.key, no, seconds)
        self._answer([pending], outcome)

    async def _commit(self, connection: Connection, batch: Batch) -> None:
        self._cache.tell(batch.telling(self._failed))
        self._failed.clear()
        began = time.perf_counter()
        try:
            with database.bounded(connection, self._settings.commit_timeout_seconds + 1):
                at = await commits.commit(connection, batch)
        except database.ERRORS as error:
            await self._after_failure(connection, batch, error)
        else:
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
            metrics.COMMIT_PAYMENTS.observe(batch.size)
            self._accept(batch, at)

    async def _connected(self) -> Connection:
        """The writer's own connection: a pool would reset it after every commit."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await database.connect(
                self._settings.database_url, "api writer", self._settings.commit_timeout_seconds
            )
        return self._connection

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
            log.warning("the outcome of a commit of %d operations is unknown: %r", batch.size, error)
            connection.terminate()
            self._beside(batch.pending, self._settle(batch))
        elif bank_terms.is_stale(error):
            with database.bounded(connection, self._settings.commit_timeout_seconds + 1):
                await self._policies.try_reading(connection)
            self._beside(batch.pending, self._try_again(batch))
        elif isinstance(error, TRY_AGAIN):
            self._beside(batch.pending, self._try_again(batch))
        elif isinstance(error, (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)):
            await self._single_out(connection, batch, error)
        else:
            log.error("a commit failed: %r", error)
            self._answer(batch.pending, DATABASE_AWAY)
            await asyncio.sleep(RETRY_SECONDS)

    def _beside(self, operations: Sequence[Pending], work: Coroutine[Any, Any, None]) -> None:
        """Do what these operations need now; batches go on meanwhile."""

        async def whatever_happens() -> None:
            try:
                await work
            except Exception:
                log.exception("%d operations could not be settled", len(operations))
                self._answer(operations, OUTCOME_UNKNOWN)

        task = asyncio.create_task(whatever_happens())
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, batch: Batch) -> None:
        """Find out what became of a commit whose answer was lost."""
        while True:
            try:
                row = await batches.settle(self._pool, batch.id)
            except database.ERRORS as error:
                log.warning("batch %s is not settled yet: %r", batch.id, error)
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
            versions = await commits.versions(self._pool, changes) if changes else {}
            known = await commits.answers(self._pool, keys) if keys else {}
        except database.ERRORS as error:
            log.warning("keys could not be looked up: %r", error)
            self._answer(batch.pending, DATABASE_AWAY)
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
            elif pending.waiters:
                pending.is_committing, pending.replaces = False, batch.id
                remaining.append(pending)
            else:
                self._forget(pending)
        if len(remaining) == len(batch.pending):
            await asyncio.sleep(RETRY_SECONDS / 10)  # whatever stopped it may still be there
        if remaining:
            self._queue.extendleft(reversed(remaining))
            self._queued_payments += sum(pending.operation.size for pending in remaining)
            self._arrived.set()
        else:
            self._failed.append(batch.id)

    async def _single_out(self, connection: Connection, batch: Batch, error: Exception) -> None:
        """The database refuses what an operation says, which its checks should have: that one alone fails."""
        if len(batch.pending) == 1:
            log.error("the database refuses an operation: %r", error)
            self._answer(batch.pending, INTERNAL)
            return
        for pending in batch.pending:
            pending.replaces = batch.id
            await self._commit(connection, Batch([pending]))

    async def settled(self) -> None:
        """Wait until no commit's outcome is unknown, for a while: after that only the database knows."""
        async with self._committing:
            pass  # a commit in flight has ended
        if self._settling:
            _, unsettled = await asyncio.wait(self._settling, timeout=DRAIN_SECONDS)
            for task in unsettled:
                task.cancel()


def replay(answer: Answer, fingerprint: str) -> Outcome:
    """The first answer again; a key that belongs to another request is refused."""
    if answer.fingerprint != fingerprint:
        return KEY_REUSED
    if isinstance(answer.outcome, Refused):
        return answer.outcome
    return Accepted(answer.outcome, replayed=True)


def as_replay(outcome: Outcome) -> Outcome:
    return Accepted(outcome.result, replayed=True) if isinstance(outcome, Accepted) else outcome


KEY_REUSED = Refused(Refusal.KEY_REUSED, "This Idempotency-Key was used with another body.", field="Idempotency-Key")
DATABASE_AWAY = Refused(Refusal.DATABASE_AWAY, "Nothing was recorded by this attempt; try again.")
OVERLOADED = Refused(Refusal.OVERLOADED, "The queue is full: nothing was recorded by this attempt; try again.")
TIMEOUT = Refused(Refusal.TIMEOUT, "The request was still queued: nothing was recorded by this attempt.")
OUTCOME_UNKNOWN_IN_TIME = Refused(
    Refusal.OUTCOME_UNKNOWN_IN_TIME,
    "The commit has not answered yet. Repeat the request with the same Idempotency-Key to learn its result.",
)
OUTCOME_UNKNOWN = Refused(
    Refusal.OUTCOME_UNKNOWN, "Repeat the request with the same Idempotency-Key to learn its result."
)
CHANGED_MEANWHILE = Refused(Refusal.CONFLICT, "Another request changed this payment at the same time, and was first.")
INTERNAL = Refused(Refusal.INTERNAL, "The request could not be recorded; nothing was.")
