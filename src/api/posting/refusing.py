"""Refusing under an idempotency key: the refusal takes the key before the caller gets the answer."""

import asyncio
import logging
from collections.abc import Sequence

from api.http.refusals import OUTCOME_UNKNOWN, OUTCOME_UNKNOWN_IN_TIME, TIMEOUT
from api.posting import commits
from api.posting.batches import Outcome
from api.posting.callers import first_answer, replay
from api.posting.commits import Answer
from api.posting.failures import unrecorded
from api.posting.generations import Generations
from api.posting.operations import Key, No
from polka.store import database
from polka.store.database import Connection
from polka.store.writers import Writers

log = logging.getLogger(__name__)


class Refuser:
    """Records refusals under their keys, and looks up the answers of keys."""

    def __init__(self, writers: Writers, generations: Generations) -> None:
        self._writers = writers
        self._generations = generations

    async def answer_of(self, key: Key) -> Answer | None:
        """The answer to the key's first request, if any."""
        return (await self._writers.do(commits.answers, [key])).get(key)

    async def refuse(self, fingerprint: str, key: Key | None, refused: No, timeout_seconds: float) -> Outcome:
        """Answer with this refusal, unless the key already has an answer.

        The refusal takes the key first, and waits for a commit in flight of the same request through another api.
        Otherwise a client could get a refusal, and find later that the payment succeeded.
        """
        [outcome] = await self.refuse_all([(key, fingerprint, refused)], timeout_seconds)
        return outcome

    async def refuse_all(self, refused: Sequence[tuple[Key | None, str, No]], timeout_seconds: float) -> list[Outcome]:
        """The same for many operations. An operation may be a bulk request with all of its items refused."""
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
            await commits.take_keys(connection, self._generations, keyed)
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
