"""Reads the figures of the database for the cache's metrics, every few seconds, beside everything else."""

import asyncio
import logging

from cache import metrics
from polka.store import database
from polka.store.database import Pool

log = logging.getLogger(__name__)

READ_SECONDS = 5.0

ASIDE = "SELECT count(*) FROM batches WHERE state = 'aside'"
WINDOWS = "SELECT state, count(*), extract(epoch FROM now() - max(opened_at)) AS seconds FROM windows GROUP BY state"
# `pg_stat_activity` hides the owners of sessions from an ordinary user; `pg_stat_database` counts all sessions.
SERVER = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database) AS connections,
       current_setting('max_connections')::int AS most,
       pg_database_size(current_database()) AS size
"""


async def read_database(pool: Pool) -> None:
    """Update the metrics for ever. While the database is unavailable, the last values stay."""
    while True:
        try:
            await read(pool)
        except database.ERRORS as error:
            database.report(log, "the database could not be asked for metrics", error)
        await asyncio.sleep(READ_SECONDS)


async def read(pool: Pool) -> None:
    metrics.SET_ASIDE.set(await pool.fetchval(ASIDE))
    counts = dict.fromkeys(("open", "closed", "settled"), 0)
    for row in await pool.fetch(WINDOWS):
        counts[row["state"]] = row["count"]
        if row["state"] == "open":
            metrics.WINDOW_OPEN_SECONDS.set(row["seconds"])
    for state, count in counts.items():
        metrics.WINDOWS.labels(state).set(count)
    server = await pool.fetchrow(SERVER)
    metrics.DATABASE_CONNECTIONS.set(server["connections"])
    metrics.DATABASE_CONNECTIONS_MAX.set(server["most"])
    metrics.DATABASE_BYTES.set(server["size"])
