"""Computes the netting figures of each closed window once, beside everything else.

The batches of a closed window never change. Every computation by any process gives the same figures.
"""

import asyncio
import logging
from collections import defaultdict

from cache import metrics
from cache.ledger.flush import readable_entries
from cache.settings import Settings
from polka.rules.netting import Flows, Netting, movements
from polka.store import database
from polka.store.database import Connection, Pool
from polka.store.writers import Writers

log = logging.getLogger(__name__)

BATCHES_AT_ONCE = 5
"""Processed without a pause. This takes some milliseconds, in which the cache answers no request."""

UNNETTED = "SELECT id FROM windows WHERE NOT is_netted AND state <> 'open' ORDER BY id LIMIT 1"
BATCHES = """
SELECT payload FROM batches WHERE window_id = $1 AND id IS DISTINCT FROM (SELECT settlement FROM windows WHERE id = $1)
"""
KEEP = """
INSERT INTO window_netting (window_id, currency, gross, bilateral, multilateral) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING
"""
IS_NETTED = "UPDATE windows SET is_netted = true WHERE id = $1"


async def net_windows(settings: Settings, pool: Pool, writers: Writers) -> None:
    """Look for closed windows without figures every `flush_seconds`, for ever."""
    while True:
        try:
            while (window := await pool.fetchval(UNNETTED)) is not None:
                await net_window(window, pool, writers)
                metrics.NETTED.inc()
        except database.ERRORS as error:
            database.report(log, "netting figures could not be worked out", error)
        await asyncio.sleep(settings.flush_seconds)


async def net_window(window: int, pool: Pool, writers: Writers) -> None:
    async with pool.acquire() as connection:
        figures = await net(connection, window)
    await writers.do(keep, window, figures)


async def net(connection: Connection, window: int) -> list[Netting]:
    """The figures of each currency, from the payloads of the window's batches."""
    flows: dict[str, Flows] = defaultdict(Flows)
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(BATCHES, window, prefetch=BATCHES_AT_ONCE):
            for payer, payee, currency, amount in movements(readable_entries(row["payload"])):
                flows[currency].add(payer, payee, amount)
    figures = [flows[currency].netting(currency) for currency in sorted(flows)]
    for taken_up in flows.values():
        while taken_up.forget_bank():
            await asyncio.sleep(0)
    return figures


async def keep(connection: Connection, window: int, figures: list[Netting]) -> None:
    rows = [(window, one.currency, one.gross, one.bilateral, one.multilateral) for one in figures]
    async with connection.transaction():
        await connection.executemany(KEEP, rows)
        await connection.execute(IS_NETTED, window)
