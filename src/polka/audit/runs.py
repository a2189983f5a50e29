"""The audit as a service. A run proves new flushes since the last run, and proves some old flushes again."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import asyncpg
import msgspec

from polka.audit import passes, scans
from polka.audit.checks import CHECKS, currency_of
from polka.audit.passes import STEP_SECONDS, look_at
from polka.audit.snapshot import Difference, Findings, Seen
from polka.rules.audits import Finding, Run, Runs, Skipped
from polka.rules.formats import Time
from polka.store import database
from polka.store.database import Connection, Pool

FINDINGS_MAX = 100
"""Recorded findings of a run."""
STEP_PAYMENTS_MAX = 5_000
RUNS_KEPT = 1_500
"""The runs of about a day."""

# A run checks these rules as a whole. They read few rows, regardless of the number of payments.
CHECKS_OF_A_RUN = (
    "Balances of all banks sum to zero",
    "Balances of all accounts sum to zero",
    "A bank's balance is the sum of the nets of its unsettled windows",
    "The latest window is open, and all before it are closed",
    "Windows that the schedule has closed follow its times",
    "A window is settled by one batch, posted in it",
    "Interest is booked by one batch, posted in its window",
    "Each version of the policy changed the terms of one bank",
    "The newest figures of liquidity are those of the balances",
    "A span of liquidity has the highest of the shorter ones in it",
    "No batch is set aside",
)
# One account of each bank, without reading the others.
BANKS_OF_ACCOUNTS = """
    accounts AS (
        WITH RECURSIVE holder (bank) AS (
            (SELECT bank FROM accounts ORDER BY bank LIMIT 1)
            UNION ALL
            SELECT (SELECT bank FROM accounts WHERE bank > holder.bank ORDER BY bank LIMIT 1)
            FROM holder WHERE bank IS NOT NULL
        )
        SELECT bank FROM holder WHERE bank IS NOT NULL
    )
"""
BANKS_ARE_KNOWN = "Every owner of a balance or terms is a bank, or Polka itself"
RECORD = """
INSERT INTO audit_runs
    (began_at, ended_at, flush, payments_new, payments_again, faults, findings, skipped, verified_from)
VALUES ($1, now(), $2, $3, $4, $5, $6, $7, $8) RETURNING *
"""
FORGET = "DELETE FROM audit_runs WHERE id < $1"
RUNS = """
SELECT *, extract(epoch FROM now() - ended_at)::float8 AS age_seconds FROM audit_runs ORDER BY id DESC LIMIT $1
"""


class Proved(msgspec.Struct, frozen=True):
    """The result of the passes; see `Run`."""

    flush: int
    payments_new: int
    payments_again: int
    findings: Findings
    verified_from: Time | None


async def run(connection: Connection, payments_again: int, beside: Callable[[], Awaitable[Seen]]) -> Run:
    """Prove new flushes, prove some old flushes again, and run `beside`. Returns the recorded run.

    The first run proves everything, without a time limit.

    Raises:
        asyncpg.SerializationError: another audit takes the same step.
        UnreplicatedError: the wait of a commit for a standby was cancelled.
    """
    began_at = await connection.fetchval("SELECT now()")
    proved = await follow(connection, payments_again)
    found, skipped = [proved.findings], []
    for of in scans.ROWS:
        slice_ = await scans.go_on(connection, of, payments_again)
        found.append(slice_.findings)
        skipped += slice_.skipped
    with database.bounded(connection, STEP_SECONDS):
        found.append(await look_at(connection, {name: CHECKS[name] for name in CHECKS_OF_A_RUN}))
        found.append(await look_at(connection, {BANKS_ARE_KNOWN: CHECKS[BANKS_ARE_KNOWN]}, BANKS_OF_ACCOUNTS))
    seen = await beside()
    with database.bounded(connection, STEP_SECONDS):
        return await record(connection, began_at, proved, merged([*found, seen.findings]), [*skipped, *seen.skipped])


async def follow(connection: Connection, payments_again: int) -> Proved:
    """Advance the following pass to the present, and continue the pass under way."""
    step = min(payments_again, STEP_PAYMENTS_MAX)
    following = await passes.find_pass(connection, is_present=True)
    followed = await passes.advance(connection, following, step) if following else None
    under_way = await passes.begin_pass(connection)
    again = await passes.advance(connection, under_way, step, payments_again if followed else None)
    if again.is_done and not again.findings:
        await passes.succeed(connection, again.reached)
        following = under_way
    verified_from = following.began_at if following else None
    if followed is None:
        return Proved(again.reached.flush, again.payments, 0, again.findings, verified_from)
    findings = merged((followed.findings, again.findings))
    return Proved(followed.reached.flush, followed.payments, again.payments, findings, verified_from)


def merged(found: Iterable[Findings]) -> Findings:
    """All findings without repetition. Two passes may find the same fault."""
    by_subject: dict[str, dict[str, Difference]] = {}
    for findings in found:
        for check, differences in findings.items():
            by_subject.setdefault(check, {}).update((one.subject, one) for one in differences)
    return {check: list(differences.values()) for check, differences in by_subject.items()}


async def record(
    connection: Connection, began_at: datetime, proved: Proved, found: Findings, skipped: list[Skipped]
) -> Run:
    findings = [
        Finding(check, one.subject, str(one.expected), str(one.found), currency_of(check, one.subject))
        for check, differences in found.items()
        for one in differences
    ]
    shown = msgspec.json.encode(findings[:FINDINGS_MAX]).decode()
    row = await connection.fetchrow(
        *(RECORD, began_at, proved.flush, proved.payments_new, proved.payments_again),
        *(len(findings), shown, msgspec.json.encode(skipped).decode(), proved.verified_from),
    )
    await connection.execute(FORGET, row["id"] - RUNS_KEPT)
    return run_of(row)


async def list_runs(pool: Pool, limit: int) -> Runs:
    """The newest completed runs."""
    rows = await pool.fetch(RUNS, limit)
    return Runs([run_of(row) for row in rows], rows[0]["age_seconds"] if rows else None)


def run_of(row: asyncpg.Record) -> Run:
    fields = {name: row[name] for name in Run.__struct_fields__}
    findings = msgspec.json.decode(row["findings"], type=list[Finding])
    return Run(**fields | {"findings": findings, "skipped": msgspec.json.decode(row["skipped"], type=list[Skipped])})
