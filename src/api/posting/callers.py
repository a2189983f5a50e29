"""The callers that wait for each operation, and the answers of recent keys. All of this is in memory."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from api.http.refusals import CAP_UNCHECKED, KEY_REUSED, OUTCOME_UNKNOWN_IN_TIME, TIMEOUT, Refused
from api.posting.batches import Accepted, Batch, Outcome, Pending, Waiter
from api.posting.commits import Answer
from api.posting.lanes import Lanes
from api.posting.operations import Change, Key, No

LATE_SECONDS = 0.05
"""Between two checks of the callers without a timer."""


class Callers:
    """Gives every caller a certain answer. Equal requests with the same key wait for the same operation."""

    def __init__(self, lanes: Lanes, recent_keys_max: int) -> None:
        self._lanes = lanes
        self._recent_keys_max = recent_keys_max
        self._in_flight: dict[Key, Pending] = {}
        self._changing: set[str] = set()
        self._recent: OrderedDict[Key, Answer] = OrderedDict()
        self._without_timer: dict[Waiter, tuple[Pending, float]] = {}
        self._has_waiters = asyncio.Event()

    def answer_of(self, key: Key) -> Answer | None:
        return self._recent.get(key)

    def under_way(self, key: Key) -> Pending | None:
        """The operation in flight under this key."""
        return self._in_flight.get(key)

    def add(self, pending: Pending) -> bool:
        """Register the operation. Returns False, and changes nothing, if another change of the same payment is in
        flight."""
        if isinstance(pending.operation, Change):
            if pending.operation.old.id in self._changing:
                return False
            self._changing.add(pending.operation.old.id)
        if pending.key:
            self._in_flight[pending.key] = pending
        return True

    async def wait(self, pending: Pending, timeout_seconds: float) -> Outcome:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outcome] = loop.create_future()
        pending.waiters.append(waiter)
        timer = loop.call_later(timeout_seconds, self._give_up, pending, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:  # the server stops: the caller gets the current truth
            return self._leave(pending, waiter) if waiter.cancelled() else waiter.result()
        finally:
            timer.cancel()

    def _give_up(self, pending: Pending, waiter: asyncio.Future[Outcome]) -> None:
        if not waiter.done():
            waiter.set_result(self._leave(pending, waiter))

    def wait_without_timer(self, pending: Pending, waiter: Waiter, deadline: float) -> None:
        """Give the outcome to the waiter, or a timeout after the deadline. Deadlines must come in ascending order."""
        pending.waiters.append(waiter)
        self._without_timer[waiter] = pending, deadline
        self._has_waiters.set()

    async def tell_late(self) -> None:
        """Answer callers without a timer after their deadlines, until cancelled. A cancellation answers all remaining
        callers."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._has_waiters.wait()
                await asyncio.sleep(LATE_SECONDS)
                self._tell_until(loop.time())
                if not self._without_timer:
                    self._has_waiters.clear()
        finally:
            self._tell_until(math.inf)

    def _tell_until(self, now: float) -> None:
        while self._without_timer:
            waiter, (pending, deadline) = next(iter(self._without_timer.items()))
            if deadline > now:
                return
            del self._without_timer[waiter]
            waiter.set_result(self._leave(pending, waiter))

    def _leave(self, pending: Pending, waiter: Waiter) -> Refused:
        """The answer to a caller that stops waiting. An operation that no caller waits for is never committed later."""
        if waiter in pending.waiters:  # an answer may have come since the cancellation
            pending.waiters.remove(waiter)
        if pending.is_committing:
            return OUTCOME_UNKNOWN_IN_TIME
        if not pending.waiters:
            self.forget(pending)
        lane = self._lanes.of(pending.decided, pending.policy)
        return CAP_UNCHECKED if lane.is_unchecked else TIMEOUT

    def forget(self, pending: Pending) -> None:
        if pending.key:
            self._in_flight.pop(pending.key, None)
        if isinstance(pending.operation, Change):
            self._changing.discard(pending.operation.old.id)
        for waiter in pending.waiters:
            self._without_timer.pop(waiter, None)

    def answer(self, answered: Iterable[Pending], outcome: Outcome) -> None:
        for pending in answered:
            self.forget(pending)
            pending.answer(outcome)

    def accept(self, batch: Batch, at: datetime) -> None:
        """Answer all callers of a durable batch."""
        name = str(batch.id)
        for pending in batch.pending:
            result = pending.decided.result(name, at)
            self.forget(pending)
            if pending.key:
                self._remember(pending.key, Answer(pending.fingerprint, result))
            pending.answer(Accepted(result))

    def replay(self, pending: Pending, key: Key, answer: Answer) -> None:
        """Give the answer that the key got elsewhere."""
        self._remember(key, answer)
        self.answer([pending], replay(answer, pending.fingerprint))

    def _remember(self, key: Key, answer: Answer) -> None:
        if isinstance(answer.outcome, list):
            return  # a bulk request's answer is large, and is looked up before the request anyway
        self._recent[key] = answer
        if len(self._recent) > self._recent_keys_max:
            self._recent.popitem(last=False)


def first_answer(no: No) -> Outcome:
    return Accepted([*no]) if isinstance(no, list) else no


def replay(answer: Answer, fingerprint: str) -> Outcome:
    """The first answer again, or a refusal if the key belongs to another request."""
    if answer.fingerprint != fingerprint:
        return KEY_REUSED
    if isinstance(answer.outcome, Refused):
        return answer.outcome
    return Accepted(answer.outcome, replayed=True)


def as_replay(outcome: Outcome) -> Outcome:
    return Accepted(outcome.result, replayed=True) if isinstance(outcome, Accepted) else outcome
