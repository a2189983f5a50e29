"""Removes expired idempotency keys. Clients repeat a request long before its key expires.

Keys are kept in generations, each in a table of its own. A generation lasts for the shortest lifetime of a key. When a
new generation begins, the keys of the previous generation still count, and the table of the generation before that is
emptied. A key therefore lasts between one and about two lifetimes.
"""

import asyncio
import logging

from cache import metrics
from cache.settings import Settings
from polka.store import database
from polka.store.database import Connection
from polka.store.writers import Writers

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0

BEGIN = "SELECT polka_begin_keys(make_interval(secs => $1))"
DROP = "SELECT polka_drop_keys()"


async def prune_keys(settings: Settings, writers: Writers) -> None:
    """Drop expired keys for ever. Their transactions stay."""
    seconds = settings.idempotency_key_seconds
    while True:
        try:
            await writers.do(drop)
            if number := await writers.do(begin, seconds):
                log.info("generation %d of idempotency keys begins", number)
                await writers.do(drop)
        except database.ERRORS as error:
            database.report(log, "idempotency keys could not be pruned", error)
        await asyncio.sleep(min(INTERVAL_SECONDS, seconds))


async def begin(connection: Connection, seconds: float) -> int | None:
    """Begin a new generation if the current one has lasted `seconds` by the database's clock. Returns the new number,
    or None."""
    number: int | None = await connection.fetchval(BEGIN, seconds)
    return number


async def drop(connection: Connection) -> None:
    """Empty the table of expired keys."""
    metrics.PRUNED_KEYS.inc(await connection.fetchval(DROP))
