"""Posting, the api's part: operations go into lanes, and every caller gets a certain answer.

While one commit is in flight, arriving operations wait and go together in the next: no timer, no delay when idle.
The protocol is described in docs/posting.md; what must not be left out is said where it stands.
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
    """Lanes at work, with connections of their own: no reader holds them up. At the end they settle what is open."""
    lanes = Lanes(settings)
    generations = Generations()
    callers, refuser = Callers(lanes, settings.recent_keys_max), Refuser(writers, generations)
    beside = Beside(writers, lanes, callers, refuser, settings.commit_timeout_seconds)
    writer = Writer(settings, cache, policies, lanes, callers, beside, generations)
    posting = Posting(lanes, callers, refuser, policies, writer, beside)
    async with background(writer.run()), background(callers.tell_late()):
        yield posting
        await posting.settled()


class Posting:
    """Where operations come in."""

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
        """The operation's outcome, once it is certain or the time is up."""
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
        """Take a new payment that nothing speaks against; its waiter is told the outcome.

        False, and nothing done, if anything speaks against it: `post` says what. All deadlines that are given here must
        be as far away. `request` is the request's id.
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
        """What the key's first request was answered with, if it was: looked up ahead of a large request."""
        answer = await self.answer_of(key)
        return replay(answer, fingerprint) if answer else None

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
            return await self._refuser.refuse(operation.fingerprint, key, decided, deadline - loop.time())
        return await self.post(operation, key, deadline - loop.time())

    async def settled(self) -> None:
        """Wait until no commit's outcome is unknown, for a while: after that only the database knows."""
        await self._writer.rest(DRAIN_SECONDS)
        await self._beside.settled(DRAIN_SECONDS)
