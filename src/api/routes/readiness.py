"""Whether this process could commit a payment now. It looks once a second; a probe only reads the result.

It looks at what a payment needs: the connections that commit, the keys, the policy. Reads have no part in it: however
many there are, payments have connections of their own.
"""

import asyncio
import logging
import math
from collections.abc import Sequence

from api.http.keyring import Keyring
from api.posting.lanes import Lane
from api.posting.policies import Policies
from polka.store import database

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""From one look at a lane to the next."""
OUTDATED_SECONDS = 10.0
"""A lane of which nothing good was seen for so long is stuck. A commit that hangs is cut off before."""


class Readiness:
    """Looks at the lanes, one beside the other; keys and policy are looked at by those who keep them."""

    def __init__(self, lanes: Sequence[Lane], keyring: Keyring | None, policies: Policies) -> None:
        self._keyring = keyring
        self._policies = policies
        self._seen_at = dict.fromkeys(lanes, -math.inf)
        """When each lane was last seen to be able to commit; never, where the last look has failed."""

    def obstacle(self) -> str | None:
        """Why no payment could be committed; None if one could."""
        outdated = asyncio.get_running_loop().time() - OUTDATED_SECONDS
        if any(seen_at < outdated or not lane.is_connected for lane, seen_at in self._seen_at.items()):
            return "the database does not take payments"
        if self._keyring is not None and not self._keyring.is_read:
            return "the keys are not known yet"
        if not self._policies.are_read:
            return "the terms of the banks are not known yet"
        return None

    async def run(self) -> None:
        """Look at the lanes again and again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in self._seen_at:
                group.create_task(self._watch(lane))

    async def _watch(self, lane: Lane) -> None:
        while True:
            try:
                await lane.look()
            except database.ERRORS as error:
                if self._seen_at[lane] != -math.inf:
                    log.warning("no payment can be committed: %r", error)
                self._seen_at[lane] = -math.inf
            else:
                self._seen_at[lane] = asyncio.get_running_loop().time()
            await asyncio.sleep(LOOK_SECONDS)
