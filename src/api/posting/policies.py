"""The policy in memory, so that a payment costs no query for the policy. The known policy may be outdated for a moment.

The api polls the policy, and reads it at once after a commit fails with an outdated version.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from polka.rules.policy import Policy
from polka.service.background import background
from polka.store import bank_terms, database
from polka.store.bank_terms import NOTHING_KNOWN
from polka.store.database import Connection
from polka.store.writers import Writers

log = logging.getLogger(__name__)

POLL_SECONDS = 0.3


class Policies:
    """The policy as of the last read. Writers read the policy, because the read needs a barrier."""

    def __init__(self, writers: Writers) -> None:
        self.current = NOTHING_KNOWN
        self._writers = writers

    @property
    def are_read(self) -> bool:
        """Whether the policy was read at least once."""
        return self.current is not NOTHING_KNOWN

    async def read(self) -> Policy:
        """The policy in force."""
        return await self._writers.do(self.read_by)

    async def read_by(self, connection: Connection) -> Policy:
        """The policy in force, read over this connection."""
        known = self.current
        newest = await bank_terms.newest(connection, known)
        if newest is known or self.current is not known:  # another read was faster
            return self.current
        if newest.version < known.version:
            log.error(
                "the database has lost changes of terms: version %d is in force after %d", newest.version, known.version
            )
        self.current = newest
        return newest

    async def try_reading(self, connection: Connection | None = None) -> None:
        """Read the policy if the database is available."""
        try:
            await (self.read_by(connection) if connection else self.read())
        except database.ERRORS as error:
            database.report(log, "the policy could not be read", error)


@asynccontextmanager
async def open_policies(writers: Writers) -> AsyncIterator[Policies]:
    """A policy that follows the database. It is read before the first use if the database is available."""
    policies = Policies(writers)
    await policies.try_reading()
    async with background(follow(policies)):
        yield policies


async def follow(policies: Policies) -> None:
    """Poll the policy until cancelled."""
    while True:
        await asyncio.sleep(POLL_SECONDS)
        await policies.try_reading()
