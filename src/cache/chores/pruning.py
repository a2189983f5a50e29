"""Forgets idempotency keys that are old enough: a client that repeats a request does so long before."""

import asyncio
import logging

from cache import metrics
from cache.settings import Settings
from polka.store import database
from polka.store.database import Connection
from polka.store.writers import Writers

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
KEYS_MAX = 5_000
"""In one statement, so that none of them takes long."""

PRUNE = """
DELETE FROM idempotency_keys WHERE (caller, key) IN (
    SELECT caller, key FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)
    ORDER BY created_at LIMIT $2
)
"""


async def prune_keys(settings: Settings, writers: Writers) -> None:
    """Delete old keys for ever; their transactions stay."""
    seconds = settings.idempotency_key_seconds
    while True:
        try:
            while (pruned := await writers.do(prune, seconds)) == KEYS_MAX:
                log.info("%d idempotency keys are pruned, and more are to come", pruned)
        except database.ERRORS as error:
            database.report(log, "idempotency keys could not be pruned", error)
        await asyncio.sleep(min(INTERVAL_SECONDS, seconds))


async def prune(connection: Connection, seconds: float) -> int:
    """Delete some keys that are older, oldest first, and say how many."""
    status: str = await connection.execute(PRUNE, seconds, KEYS_MAX)
    pruned = int(status.removeprefix("DELETE "))
    metrics.PRUNED_KEYS.inc(pruned)
    return pruned
