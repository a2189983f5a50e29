"""The last uses of keys: gathered in memory, and recorded once a minute, so that no request waits for the record."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice

from polka.service.background import background
from polka.store import api_keys, database
from polka.store.writers import Writers

log = logging.getLogger(__name__)

RECORD_SECONDS = 60.0
"""Between two records."""
RECORD_TIMEOUT_SECONDS = 2.0
KEYS_MAX = 10_000
"""The most keys in one statement. The rest waits for the next statement."""


@asynccontextmanager
async def open_key_uses(writers: Writers) -> AsyncIterator["KeyUses"]:
    """Uses of keys, recorded once a minute and at the end."""
    uses = KeyUses(writers)
    async with background(uses.run()):
        yield uses
    await uses.record()


class KeyUses:
    """The ids of the keys used since the last record. Their number is bounded by the number of keys."""

    def __init__(self, writers: Writers) -> None:
        self._writers = writers
        self._used: set[str] = set()
        self.note = self._used.add

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await asyncio.sleep(RECORD_SECONDS)
            await self.record()

    async def record(self) -> None:
        """Record the gathered uses. After a failure, the next record includes these uses."""
        ids = list(islice(self._used, KEYS_MAX))
        if not ids:
            return
        self._used.difference_update(ids)
        try:
            async with asyncio.timeout(RECORD_TIMEOUT_SECONDS):
                await self._writers.do(api_keys.record_uses, ids)
        except database.ERRORS as error:
            database.report(log, "the uses of keys could not be recorded", error)
            self._used.update(ids)
