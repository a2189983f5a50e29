"""Announced batches. Each batch is pending, or has a reservation, until its outcome is known.

The flush that posts a batch ends its wait. If a batch takes long, a tombstone asks the database for the outcome.
"""

import asyncio
import heapq
import logging
import time
from uuid import UUID

from cache import metrics
from cache.ledger.ledger import Hold, Ledger
from cache.settings import Settings
from polka.rules.messages import Asked, Reserved, Told
from polka.service import traces
from polka.store import batches, database
from polka.store.writers import Writers

log = logging.getLogger(__name__)


class Announced:
    """The batches that apis have announced to a cache of this epoch."""

    def __init__(self, settings: Settings, writers: Writers, epoch: int, ledger: Ledger) -> None:
        self._settings = settings
        self._writers = writers
        self._epoch = epoch
        self._ledger = ledger
        self._deadlines: list[tuple[float, UUID]] = []

    def hold(self, told: Told) -> bool:
        """Hold an announced batch as pending, or forget a failed one. Returns whether the batch is pending now."""
        if not told.entries:
            self._ledger.finish(told.batch, 0)
            return False
        hold = self._ledger.hold(told.batch, told.entries, told.replaces, oldest_milliseconds(self._settings))
        metrics.TOLD.labels(hold.value).inc()
        log.debug("told of a batch: %s", hold.value, extra={"batch": str(told.batch)})
        traces.held(told.batch, hold.value)
        if hold is Hold.PENDING:
            self._expect(told.batch)
        return told.batch in self._ledger.pending

    def reserve(self, asked: Asked) -> Reserved:
        """Reserve room under the caps for a batch before its commit."""
        if asked.policy != self._ledger.policy.version:
            metrics.RESERVATIONS.labels("other policy").inc()
            return Reserved(self._epoch, self._ledger.policy.version, None)
        was_pending = asked.batch in self._ledger.pending
        refused = self._ledger.reserve(asked.batch, asked.units, asked.replaces, oldest_milliseconds(self._settings))
        if asked.batch in self._ledger.pending and not was_pending:
            self._expect(asked.batch)
        answer = "too late" if refused is None else "refused" if refused else "reserved"
        metrics.RESERVATIONS.labels(answer).inc()
        log.debug("asked to reserve for a batch: %s", answer, extra={"batch": str(asked.batch)})
        traces.held(asked.batch, answer)
        return Reserved(self._epoch, asked.policy, refused)

    async def settle(self) -> None:
        """Ask for the outcomes of overdue pending batches with tombstones. No clock decides an outcome."""
        while True:
            now = time.monotonic()
            while self._deadlines and self._deadlines[0][0] <= now:
                _, batch = heapq.heappop(self._deadlines)
                if batch in self._ledger.pending:
                    await self._settle_batch(batch)
            await asyncio.sleep(self._settings.flush_seconds)

    async def _settle_batch(self, batch: UUID) -> None:
        try:
            row = await self._writers.do(batches.settle, batch)
        except database.ERRORS as error:
            database.report(log, "a batch is not settled yet", error, batch=str(batch))
            state, number = "unknown", 0
        else:
            state, number = row["state"], row["flush"] or 0
        metrics.SETTLED.labels(state).inc()
        if state == "void" or (state == "posted" and number <= self._ledger.flush):
            self._ledger.finish(batch, number)
        elif state != "aside":
            self._expect(batch)

    def _expect(self, batch: UUID) -> None:
        is_reserved = self._ledger.is_reserved(batch)
        seconds = self._settings.reservation_seconds if is_reserved else self._settings.pending_seconds
        heapq.heappush(self._deadlines, (time.monotonic() + seconds, batch))


def oldest_milliseconds(settings: Settings) -> int:
    """The creation time of the oldest batch that a POST /balance may still announce (of the Unix epoch)."""
    return int((time.time() - settings.late_seconds) * 1000)


def oldest_seconds(ledger: Ledger) -> float:
    """The age of the oldest pending batch, without set aside batches; 0 without pending batches."""
    made_at = ledger.oldest_milliseconds()
    return 0.0 if made_at is None else max(0.0, time.time() - made_at / 1000)
