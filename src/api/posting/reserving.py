"""Room under caps, which the cache reserves for a batch before its commit."""

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
    """Asks the cache for what the capped lane has collected."""

    def __init__(self, cache: CacheClient, policies: Policies, lane: Lane, beside: Beside) -> None:
        self._cache = cache
        self._policies = policies
        self._lane = lane
        self._beside = beside

    async def reserve(self, collected: Sequence[Pending]) -> Reservation | None:
        """Have the cache reserve room under the caps, and refuse what it has none for; None where nothing is left."""
        failed = self._beside.take_failed()
        wish = Wish(collected, failed)
        with traces.part("reserve", wish.id):
            reserved = await self._reserved(wish)
        if reserved is None:
            self._beside.fail(*failed)
            self._beside.go_again(wish.id, collected)
            return None
        accepted: list[Pending] = []
        refused: list[tuple[Pending, No]] = []
        for pending, decided in wish.outcomes(reserved.refused or {}):
            if not isinstance(decided, (Refused, list)):
                pending.decide(decided, pending.policy)
                accepted.append(pending)
            elif pending.waiters:  # else its caller was told that nothing was recorded
                refused.append((pending, decided))
        self._beside.refuse(refused)
        return Reservation(wish.id, reserved.epoch, accepted) if accepted else None

    async def _reserved(self, wish: Wish) -> Reserved | None:
        """The cache's answer, asked for as long as somebody waits; None where the operations are to go again."""
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
