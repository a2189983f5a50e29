"""Forgets idempotency keys that are old enough: a client that repeats a request does so long before.

Keys are kept in generations, each in a table of its own. A generation lasts as long as a key must be kept. When the
next one begins, keys of the present one are still refused, and the table of the one before is emptied. So a key is
kept for as long as it must be, and for about twice that at most.
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
    """Drop old keys for ever; their transactions stay."""
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
    """Begin the next generation if the present one has lasted this long, by the database's clock; its number."""
    number: int | None = await connection.fetchval(BEGIN, seconds)
    return number


async def drop(connection: Connection) -> None:
    """Empty the table of keys that no longer count."""
    metrics.PRUNED_KEYS.inc(await connection.fetchval(DROP))
