"""Runs the audit in the background over a connection of its own. Findings become a metric and an alarm in the log."""

import asyncio
import logging
import time

from cache import metrics
from cache.keeping.keeper import Keeper
from cache.settings import Settings
from polka.audit import passes, runs, snapshot
from polka.audit.checks import CACHE_CHECK
from polka.audit.snapshot import Difference, Seen
from polka.rules.audits import Run, Skipped
from polka.rules.money import figure
from polka.store import database
from polka.store.database import Connection, Pool

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
FIRST_SECONDS = 5.0
"""The longest pause between the start and the first run."""
BANKS_AT_ONCE = 1_000
TRIES = 10

NEXT_BANK = "SELECT bank FROM balances WHERE bank > $1 ORDER BY bank OFFSET $2 LIMIT 1"
STORED = """
SELECT bank, currency, balance, number FROM flush LEFT JOIN balances ON bank > $1 AND ($2::text IS NULL OR bank <= $2)
"""


async def audit_ledger(settings: Settings, keeper: Keeper, pool: Pool) -> None:
    """Run the audit every `audit_seconds`, for ever; never if the setting is 0."""
    if not settings.audit_seconds:
        return
    metrics.AUDIT_COMPLETED.set(0)
    await show_last(pool)
    await asyncio.sleep(min(settings.audit_seconds, FIRST_SECONDS))
    while True:
        began = time.monotonic()
        try:
            run = await audit_once(settings, keeper)
        except database.ERRORS as error:
            metrics.AUDIT_FAILURES.labels(type(error).__name__).inc()
            database.report(log, "the audit could not run", error)
        else:
            metrics.AUDIT_SECONDS.observe(time.monotonic() - began)
            show(run)
        await asyncio.sleep(max(0.0, began + settings.audit_seconds - time.monotonic()))


async def audit_once(settings: Settings, keeper: Keeper) -> Run:
    connection = await database.connect(settings.database_url, "cache audit", passes.STEP_SECONDS, passes.SESSION)
    try:
        return await runs.run(connection, settings.audit_payments_again, lambda: compare_memory(connection, keeper))
    finally:
        connection.terminate()


async def compare_memory(connection: Connection, keeper: Keeper) -> Seen:
    """Compare the posted balances in memory with the database, some banks at a time, each time at the same flush."""
    differences: list[Difference] = []
    skipped: list[Skipped] = []
    after, last = "", ""
    while last is not None:
        last = await connection.fetchval(NEXT_BANK, after, BANKS_AT_ONCE - 1)
        found = await compare_banks(connection, keeper, after, last)
        if found is None:
            skipped.append(Skipped(CACHE_CHECK, f"at no flush of {TRIES} were both, for banks after {after!r}"))
        else:
            differences += found
        after = last
    return Seen({CACHE_CHECK: differences} if differences else {}, skipped)


async def compare_banks(
    connection: Connection, keeper: Keeper, after: str, last: str | None
) -> list[Difference] | None:
    """The differences; None if memory was at another flush at each try, or the cache is starting. Then these banks are
    skipped."""
    for _ in range(TRIES):
        stored = await connection.fetch(STORED, after, last)
        if keeper.service and keeper.service.ledger.flush == stored[0]["number"]:
            return snapshot.compare(keeper.service.ledger.posted(after, last), stored)
        await asyncio.sleep(RETRY_SECONDS)
    return None


async def show_last(pool: Pool) -> None:
    """Show the last run of any cache, so that its metrics continue after a start."""
    try:
        for run in (await runs.list_runs(pool, 1)).runs:
            show_state(run)
    except database.ERRORS as error:
        database.report(log, "the last audit could not be read", error)


def show(run: Run) -> None:
    show_state(run)
    for one in run.findings:
        found, expected = (
            figure(int(number), one.currency) if one.currency else number for number in (one.found, one.expected)
        )
        log.error("audit: %s: %s is %s instead of %s", one.check, one.subject, found, expected)
    for skipped in run.skipped:
        log.warning("audit: %s: skipped: %s", skipped.check, skipped.reason)


def show_state(run: Run) -> None:
    metrics.AUDIT_FAULTS.set(run.faults)
    metrics.AUDIT_SKIPPED.set(len(run.skipped))
    metrics.AUDIT_COMPLETED.set(run.ended_at.timestamp())
