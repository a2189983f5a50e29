"""Work beside the batches: settling unknown commits, retrying, and refusing. Batches go on meanwhile."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from uuid_utils import UUID

from api.cache_client import CacheClient
from api.http.refusals import CHANGED_MEANWHILE, OUTCOME_UNKNOWN
from api.posting import commits
from api.posting.batches import Batch, Pending, failure
from api.posting.callers import Callers
from api.posting.commits import Answer
from api.posting.failures import unrecorded
from api.posting.lanes import Lanes
from api.posting.operations import Change, Key, No
from api.posting.refusing import Refuser
from polka.store import batches, database
from polka.store.database import Connection
from polka.store.writers import Writers

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.2


class Beside:
    """Each piece of work is a task. The cache hears of a failed batch at once, and again with the next batch, which may
    come first."""

    def __init__(
        self,
        writers: Writers,
        cache: CacheClient,
        lanes: Lanes,
        callers: Callers,
        refuser: Refuser,
        commit_timeout_seconds: float,
    ) -> None:
        self._writers = writers
        self._cache = cache
        self._lanes = lanes
        self._callers = callers
        self._refuser = refuser
        self._commit_timeout_seconds = commit_timeout_seconds
        self._failed: list[UUID] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def fail(self, batch: UUID) -> None:
        """Report to the cache that nothing of this batch is recorded.

        Without a report its reservation would take room under caps until the cache asks the database.
        """
        self._failed.append(batch)
        self._cache.tell(failure(batch))

    def take_failed(self) -> list[UUID]:
        """The batches for the next message to name."""
        failed, self._failed = self._failed, []
        return failed

    def put_back(self, failed: Sequence[UUID]) -> None:
        """Let a later message name these batches, because the cache reserved nothing for this one."""
        self._failed += failed

    def refuse(self, refused: Sequence[tuple[Pending, No]]) -> None:
        """Refuse operations that waited for a commit."""
        if not refused:
            return
        for pending, _ in refused:
            pending.is_committing = True  # another api may have committed the request: no certain answer yet

        async def work() -> None:
            rows = [(pending.key, pending.fingerprint, no) for pending, no in refused]
            outcomes = await self._refuser.refuse_all(rows, self._commit_timeout_seconds)
            for (pending, _), outcome in zip(refused, outcomes, strict=True):
                self._callers.answer([pending], outcome)

        self._begin([pending for pending, _ in refused], work())

    def settle(self, batch: Batch) -> None:
        """Find the outcome of a commit whose answer was lost."""
        self._begin(batch.pending, self._settle(batch))

    def try_again(self, batch: Batch) -> None:
        """Retry after a certain failure. Operations with a known answer get the answer. The others go under a new
        id."""
        self._begin(batch.pending, self._try_again(batch))

    def go_again(self, failed: UUID, operations: Iterable[Pending]) -> None:
        """Queue the operations that have a waiting caller under a new id, which replaces the id of the failed batch."""
        remaining = []
        for pending in operations:
            if pending.waiters:
                pending.is_committing, pending.replaces = False, failed
                remaining.append(pending)
            else:
                self._callers.forget(pending)
        if not remaining:
            self.fail(failed)
            return
        self._lanes.of(remaining[0].decided, remaining[0].policy).put_back(remaining)

    async def settled(self, timeout_seconds: float) -> None:
        """Wait until all work is done. After the timeout, cancel the rest; then only the database knows the
        outcomes."""
        if self._tasks:
            _, unsettled = await asyncio.wait(self._tasks, timeout=timeout_seconds)
            for task in unsettled:
                task.cancel()

    def _begin(self, operations: Sequence[Pending], work: Coroutine[Any, Any, None]) -> None:
        """Run the work for these operations as a task. After an exception the outcome of the operations is unknown."""

        async def whatever_happens() -> None:
            try:
                await work
            except Exception:
                requests = [pending.request for pending in operations]
                log.exception("operations could not be settled", extra={"requests": requests})
                self._callers.answer(operations, OUTCOME_UNKNOWN)

        task = asyncio.create_task(whatever_happens())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(self, batch: Batch) -> None:
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
            self._callers.accept(batch, row["created_at"])

    async def _try_again(self, batch: Batch) -> None:
        keys = [pending.key for pending in batch.pending if pending.key]
        changes = [pending.operation.old.id for pending in batch.pending if isinstance(pending.operation, Change)]
        try:
            versions, known = await self._writers.do(what_became, changes, keys)
        except database.ERRORS as error:
            database.report(log, "keys could not be looked up", error, **batch.names())
            self._callers.answer(batch.pending, unrecorded(error))
            return
        remaining = []
        for pending in batch.pending:
            key, operation = pending.key, pending.operation
            if key and (answer := known.get(key)):
                self._callers.replay(pending, key, answer)
            elif isinstance(operation, Change) and versions[operation.old.id] != operation.old.version:
                self._callers.forget(pending)
                seconds = self._commit_timeout_seconds
                pending.answer(await self._refuser.refuse(pending.fingerprint, key, CHANGED_MEANWHILE, seconds))
            else:
                remaining.append(pending)
        if len(remaining) == len(batch.pending):
            await asyncio.sleep(RETRY_SECONDS / 10)  # the cause of the failure may persist
        self.go_again(batch.id, remaining)


async def what_became(
    connection: Connection, changes: Sequence[str], keys: Sequence[Key]
) -> tuple[dict[str, int], dict[Key, Answer]]:
    """The newest versions of payments, and the answers of keys."""
    versions = await commits.versions(connection, changes) if changes else {}
    return versions, await commits.answers(connection, keys) if keys else {}
