"""The policy in memory, so that a payment costs no query for it. What is known here may be outdated for a moment.

It is read again and again, and whenever a commit fails because it was decided under an outdated version.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from polka import bank_terms, database
from polka.background import background
from polka.database import Connection, Pool
from polka.policy import Policy

log = logging.getLogger(__name__)

POLL_SECONDS = 0.3
NOTHING_KNOWN = Policy(-1)
"""No commit gets in that was decided under it."""


class Policies:
    """The newest policy that this process has heard of."""

    def __init__(self) -> None:
        self.current = NOTHING_KNOWN

    @property
    def are_read(self) -> bool:
        """Whether a policy was read at least once."""
        return self.current is not NOTHING_KNOWN

    async def read(self, connection: Connection | Pool) -> Policy:
        """The policy in force."""
        newest = await bank_terms.newest(connection, self.current)
        if newest.version > self.current.version:
            self.current = newest
        return self.current

    async def try_reading(self, connection: Connection | Pool) -> None:
        """Read the policy if the database answers."""
        try:
            await self.read(connection)
        except database.ERRORS as error:
            database.report(log, "the policy could not be read", error)


@asynccontextmanager
async def open_policies(pool: Pool) -> AsyncIterator[Policies]:
    """A policy that is kept up to date, and was read once if the database answers."""
    policies = Policies()
    await policies.try_reading(pool)
    async with background(follow(policies, pool)):
        yield policies


async def follow(policies: Policies, pool: Pool) -> None:
    """Read the policy again and again, until cancelled."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        await policies.try_reading(pool)
