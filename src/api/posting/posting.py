"""Posting in the api: operations go into lanes, and every caller gets a certain answer.

Operations that arrive during a commit go together into the next commit. No timer collects operations, so an idle lane
adds no delay. docs/posting.md describes the protocol. Comments in the code name the steps that must not be left out.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.cache_client import CacheClient
from api.http.refusals import CHANGED_MEANWHILE, KEY_REUSED, OVERLOADED, TIMEOUT, Refused
from api.posting.batches import Outcome, Pending, Waiter
from api.posting.beside import Beside
from api.posting.callers import Callers, as_replay, replay
from api.posting.failures import unrecorded
from api.posting.generations import Generations
from api.posting.lanes import Lanes
from api.posting.operations import Key, Operation, Pay
from api.posting.policies import Policies
from api.posting.refusing import Refuser
from api.posting.writer import Writer
from api.settings import Settings
from polka.service.background import background
from polka.store import database
from polka.store.writers import Writers

log = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0


@asynccontextmanager
async def open_posting(
    settings: Settings, writers: Writers, cache: CacheClient, policies: Policies
) -> AsyncIterator["Posting"]:
    """Running lanes, with connections of their own, so that readers cannot delay commits. The exit settles open
    commits."""
    lanes = Lanes(settings)
    generations = Generations()
    callers, refuser = Callers(lanes, settings.recent_keys_max), Refuser(writers, generations)
    beside = Beside(writers, cache, lanes, callers, refuser, settings.commit_timeout_seconds)
    writer = Writer(settings, cache, policies, lanes, callers, beside, generations)
    posting = Posting(lanes, callers, refuser, policies, writer, beside)
    async with background(writer.run()), background(callers.tell_late()):
        yield posting
        await posting.settled()


class Posting:
    """Receives all operations."""

    def __init__(
        self, lanes: Lanes, callers: Callers, refuser: Refuser, policies: Policies, writer: Writer, beside: Beside
    ) -> None:
        self.lanes = lanes
        self._callers = callers
        self._refuser = refuser
        self._policies = policies
        self._writer = writer
        self._beside = beside
        self.refuse = refuser.refuse
        self.answer_of = refuser.answer_of

    async def post(self, operation: Operation, key: Key | None, timeout_seconds: float) -> Outcome:
        """The operation's outcome, once the outcome is certain or the time is up."""
        fingerprint = operation.fingerprint if key else ""
        if key and (answer := self._callers.answer_of(key)):
            return replay(answer, fingerprint)
        if key and (same := self._callers.under_way(key)):
            if same.fingerprint != fingerprint:
                return KEY_REUSED
            return as_replay(await self._callers.wait(same, timeout_seconds))
        policy = self._policies.current
        decided = operation.under(policy)
        if isinstance(decided, (Refused, list)):
            return await self._refuse_by_policy(operation, key, timeout_seconds)
        if timeout_seconds <= 0:
            return TIMEOUT
        lane = self.lanes.of(decided, policy)
        if not lane.has_room(operation):
            return OVERLOADED
        pending = Pending(operation, key, fingerprint, decided, policy)
        if not self._callers.add(pending):
            return await self.refuse(operation.fingerprint, key, CHANGED_MEANWHILE, timeout_seconds)
        lane.put(pending)
        return await self._callers.wait(pending, timeout_seconds)

    def offer(self, operation: Pay, key: Key | None, waiter: Waiter, deadline: float, request: str) -> bool:
        """Queue a new payment, and give its outcome to the waiter.

        Returns False, and changes nothing, if the key is known, the policy forbids the payment, or the queue is full.
        Then `post` finds the answer. Deadlines must come in ascending order. `request` is the request's id.
        """
        if key and (self._callers.answer_of(key) or self._callers.under_way(key)):
            return False
        policy = self._policies.current
        decided = operation.under(policy)
        if isinstance(decided, Refused):
            return False
        lane = self.lanes.of(decided, policy)
        if not lane.has_room(operation):
            return False
        pending = Pending(operation, key, operation.fingerprint if key else "", decided, policy, request)
        self._callers.add(pending)
        self._callers.wait_without_timer(pending, waiter, deadline)
        lane.put(pending)
        return True

    async def known(self, key: Key, fingerprint: str) -> Outcome | None:
        """The answer to the key's first request, if any. A large request looks the answer up in advance."""
        answer = await self.answer_of(key)
        return replay(answer, fingerprint) if answer else None

    async def _refuse_by_policy(self, operation: Operation, key: Key | None, timeout_seconds: float) -> Outcome:
        """Refuse an operation if the newest policy still forbids the operation. The policy in memory may be
        outdated."""
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
            return await self._refuser.refuse(operation.fingerprint, key, decided, deadline - loop.time())
        return await self.post(operation, key, deadline - loop.time())

    async def settled(self) -> None:
        """Wait a limited time until no outcome is unknown. After that only the database knows."""
        await self._writer.rest(DRAIN_SECONDS)
        await self._beside.settled(DRAIN_SECONDS)
