"""Whether this process could commit a payment now. A background task checks once a second; a probe only reads the
result.

The checks cover the needs of a payment: the committing connections, the keys, the policy. Reads do not matter, because
payments have their own connections.
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
"""Between two checks of a lane."""
OUTDATED_SECONDS = 10.0
"""A lane without a successful check for this time is stuck. A hanging commit is cut off earlier."""


class Readiness:
    """Checks all lanes concurrently. Keyring and policies check themselves."""

    def __init__(self, lanes: Sequence[Lane], keyring: Keyring | None, policies: Policies) -> None:
        self._keyring = keyring
        self._policies = policies
        self._seen_at = dict.fromkeys(lanes, -math.inf)
        """The time of each lane's last successful check; minus infinity after a failed check."""

    def obstacle(self) -> str | None:
        """The reason why no payment can be committed; None if payments can be committed."""
        outdated = asyncio.get_running_loop().time() - OUTDATED_SECONDS
        if any(seen_at < outdated or not lane.is_connected for lane, seen_at in self._seen_at.items()):
            return "the database does not take payments"
        if self._keyring is not None and not self._keyring.is_read:
            return "the keys are not known yet"
        if not self._policies.are_read:
            return "the terms of the banks are not known yet"
        return None

    async def run(self) -> None:
        """Check the lanes regularly, until cancelled."""
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
