"""The cache reserves room under caps for a batch before the commit."""

import asyncio
from collections.abc import Sequence

from api.cache_client import CacheClient
from api.http.refusals import Refused
from api.posting.batches import Pending, Reservation, Wish
from api.posting.beside import Beside
from api.posting.lanes import Lane
from api.posting.operations import No
from api.posting.policies import Policies
from polka.rules.messages import Reserved
from polka.service import traces

ASK_AGAIN_SECONDS = 0.05


class Reserving:
    """Asks the cache for room for the operations of the capped lane."""

    def __init__(self, cache: CacheClient, policies: Policies, lane: Lane, beside: Beside) -> None:
        self._cache = cache
        self._policies = policies
        self._lane = lane
        self._beside = beside

    async def reserve(self, collected: Sequence[Pending]) -> Reservation | None:
        """Reserve room under the caps, and refuse operations without room; None if no operation is left."""
        failed = self._beside.take_failed()
        wish = Wish(collected, failed)
        with traces.part("reserve", wish.id):
            reserved = await self._reserved(wish)
        if reserved is None:
            self._beside.put_back(failed)
            self._beside.go_again(wish.id, collected)
            return None
        accepted: list[Pending] = []
        refused: list[tuple[Pending, No]] = []
        for pending, decided in wish.outcomes(reserved.refused or {}):
            if not isinstance(decided, (Refused, list)):
                pending.decide(decided, pending.policy)
                accepted.append(pending)
            elif pending.waiters:  # otherwise the caller already got a timeout, and nothing was recorded
                refused.append((pending, decided))
        self._beside.refuse(refused)
        return Reservation(wish.id, reserved.epoch, accepted) if accepted else None

    async def _reserved(self, wish: Wish) -> Reserved | None:
        """The cache's answer. Repeats the question while a caller waits; None if the operations must go again."""
        while True:
            reserved = await self._cache.reserve(wish.asking)
            self._lane.is_unchecked = reserved is None
            if reserved is not None:
                if reserved.refused is not None:
                    return reserved
                await self._policies.try_reading()
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            is_outdated = reserved is not None or self._policies.current is not wish.pending[0].policy
            if is_outdated or not any(one.waiters for one in wish.pending):
                return None
