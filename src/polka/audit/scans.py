"""The audit of rows that flushes do not reach, some rows at a time in the order of their keys, again and again.

A row without a batch is in no flush. The netting of a window needs the whole window.
"""

import msgspec

from polka.audit.checks import CHECKS
from polka.audit.passes import STEP_SECONDS, look_at
from polka.audit.snapshot import Seen
from polka.rules.audits import Skipped
from polka.store import database
from polka.store.database import Connection

WINDOW_PAYMENTS_MAX = 100_000
"""The netting of a larger window is skipped, because the check takes all payments in one snapshot. `polka audit` proves
the window."""

WINDOWS_MAX = 100
"""In one slice, even if the windows are small."""
WITHOUT_BATCH = "A version of a transaction is of a batch that was committed"
CHECKS_OF_SLICES = {
    **CHECKS,
    WITHOUT_BATCH: """
        SELECT concat_ws(' ', made.id, made.version) AS subject, 1 AS expected, 0 AS found
        FROM transaction_versions made LEFT JOIN batches ON batches.id = batch
        WHERE coalesce(batches.state, 'void') = 'void'
    """,
}
NETTING = "A closed window's netting is that of its payments"
LARGE_WINDOWS = """
SELECT id FROM windows
WHERE id > ($1::text[])[1]::bigint AND id <= ($2::text[])[1]::bigint AND state <> 'open'
AND (SELECT coalesce(sum(size), 0) FROM batches WHERE window_id = windows.id) > $3 ORDER BY id
"""
AFTER = "SELECT after FROM audit_slices WHERE of = $1"
GO_ON = """
INSERT INTO audit_slices (of, after) VALUES ($1, $2) ON CONFLICT (of) DO UPDATE SET after = excluded.after
"""


class Rows(msgspec.Struct, frozen=True):
    """Rows with keys. `end` finds the last key of a slice that begins after the key $1 and has $2 + 1 rows. It finds
    nothing if fewer rows are left. `given` are the relations for the checks, with the rows between the keys $1 and $2.

    `joins` are disabled, because the planner does not know how few rows there are.
    """

    first: list[str]
    last: list[str]
    end: str
    given: str
    checks: tuple[str, ...]
    joins: tuple[str, ...] = ()


ROWS = {
    "transactions": Rows(
        ["00000000-0000-0000-0000-000000000000"],
        ["ffffffff-ffff-ffff-ffff-ffffffffffff"],
        "SELECT ARRAY[id::text] FROM transactions WHERE id > ($1::text[])[1]::uuid ORDER BY id OFFSET $2 LIMIT 1",
        ", ".join(
            f"{table} AS (SELECT * FROM {table} WHERE id > ($1::text[])[1]::uuid AND id <= ($2::text[])[1]::uuid)"
            for table in ("transactions", "transaction_history", "transaction_versions")
        ),
        (
            "A changed transaction has all of its versions",
            "A version is reversed in the batch of the next",
            WITHOUT_BATCH,
        ),
    ),
    "idempotency_keys": Rows(
        ["", ""],
        ["\U0010ffff", ""],
        """
        SELECT ARRAY[caller, key] FROM idempotency_keys WHERE (caller, key) > (($1::text[])[1], ($1::text[])[2])
        ORDER BY caller, key OFFSET $2 LIMIT 1
        """,
        """
        idempotency_keys AS (
            SELECT * FROM idempotency_keys WHERE (caller, key) > (($1::text[])[1], ($1::text[])[2])
            AND (caller, key) <= (($2::text[])[1], ($2::text[])[2])
        )
        """,
        ("An answered idempotency key has its transaction",),
        ("hashjoin", "mergejoin"),
    ),
    "windows": Rows(
        ["0"],
        [str(2**63 - 1)],
        f"""
        SELECT ARRAY[id::text] FROM (
            SELECT id, sum(payments) OVER before AS payments, row_number() OVER before AS place FROM (
                SELECT id, (SELECT coalesce(sum(size), 0) FROM batches WHERE window_id = next.id) AS payments
                FROM (
                    SELECT id FROM windows WHERE id > ($1::text[])[1]::bigint AND state <> 'open'
                    ORDER BY id LIMIT {WINDOWS_MAX}
                ) next
            ) sized WINDOW before AS (ORDER BY id)
        ) summed WHERE payments > $2 OR place = {WINDOWS_MAX} ORDER BY id LIMIT 1
        """,
        f"""
        windows AS MATERIALIZED (
            SELECT * FROM windows
            WHERE id > ($1::text[])[1]::bigint AND id <= ($2::text[])[1]::bigint AND state <> 'open'
            AND (SELECT coalesce(sum(size), 0) FROM batches WHERE window_id = windows.id) <= {WINDOW_PAYMENTS_MAX}
        ), batches AS MATERIALIZED (
            SELECT * FROM batches WHERE window_id = ANY(ARRAY(SELECT id FROM windows))
        ), transaction_versions AS MATERIALIZED (
            SELECT * FROM transaction_versions WHERE batch = ANY(ARRAY(SELECT id FROM batches))
        ), transaction_history AS MATERIALIZED (
            SELECT * FROM transaction_history WHERE reversal_batch = ANY(ARRAY(SELECT id FROM batches))
        ), window_totals AS MATERIALIZED (
            SELECT * FROM window_totals WHERE window_id = ANY(ARRAY(SELECT id FROM windows))
        ), window_netting AS MATERIALIZED (
            SELECT * FROM window_netting WHERE window_id = ANY(ARRAY(SELECT id FROM windows))
        )
        """,
        (NETTING,),
        ("nestloop",),
    ),
}


async def go_on(connection: Connection, of: str, rows_max: int) -> Seen:
    """Check the next rows in one snapshot. The scan stops at a finding."""
    with database.bounded(connection, STEP_SECONDS):
        async with connection.transaction(isolation="repeatable_read"):
            return await look_at_next(connection, of, rows_max)


async def look_at_next(connection: Connection, of: str, rows_max: int) -> Seen:
    rows = ROWS[of]
    after = await connection.fetchval(AFTER, of) or rows.first
    end = await connection.fetchval(rows.end, after, rows_max - 1)
    for join in rows.joins:
        await connection.execute(f"SET LOCAL enable_{join} = off")
    checks = {name: CHECKS_OF_SLICES[name] for name in rows.checks}
    findings = await look_at(connection, checks, rows.given, after, end or rows.last)
    skipped = await large_windows(connection, after, end or rows.last) if of == "windows" else []
    if not findings:
        await connection.execute(GO_ON, of, end)
    return Seen(findings, skipped)


async def large_windows(connection: Connection, after: list[str], last: list[str]) -> list[Skipped]:
    """The windows of the slice that are too large to check here."""
    rows = await connection.fetch(LARGE_WINDOWS, after, last, WINDOW_PAYMENTS_MAX)
    reason = f"has more than {WINDOW_PAYMENTS_MAX:,} payments: `polka audit` proves it"
    return [Skipped(NETTING, f"window {row['id']} {reason}") for row in rows]
