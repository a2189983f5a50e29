"""The audit in steps. Each step proves the postings of some flushes on top of the verified sums, and then adds the step
to these sums.

A pass goes from the first flush to the newest, and takes nothing from an earlier pass. It computes all its sums from
the payments. After it has reached the present, it follows: it proves new flushes. Then the next pass begins, and takes
over once it has reached the present too. Old flushes are therefore proved again and again. A pass stops at a finding
until the fault is repaired.

Each step is a short transaction with one snapshot. Its statements begin with relations that have the names of the
checked tables and hide these tables. The relations contain only the rows of the step's flushes. Temporary tables would
do the same, but would leave about 70,000 dead rows a day in the catalog.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from polka.audit.checks import CHECKS
from polka.audit.recomputed import ACCRUED, ENTRIES, NEW_TOTALS
from polka.audit.snapshot import Findings, look
from polka.rules.transactions import POLKA
from polka.store import database
from polka.store.database import Connection

STEP_SECONDS = 60.0
"""The limit of a step. After this time the connection is cut."""
PAUSE = 1.0
"""The pause after a step, as a share of the step's time, so that other processes get the machine too."""

CHECKS_OF_A_STEP = (
    "A batch has as many versions of transactions as its row says",
    "A batch's entries are those of its transactions, or of its settlement",
    "A version is reversed in the batch of the next",
    "A receiver gets what the stored rates say, rounded down",
    "A payment shows the rate of the stored rates, in ten digits",
    "A payment's fee is that of its sender's terms, rounded half to even",
    "A batch is in a window if it is posted, and in none if it is not",
    "A window's totals are those of its entries",
    "A window's interest is that of balances, times and rates, rounded half to even",
    "A sample of liquidity has the figures that its flushes made",
)
CHECKS_AT_PRESENT = ("What has accrued in the open window is that of balances, times and rates",)
SESSION = {
    "max_parallel_workers_per_gather": "0",
    "work_mem": "64MB",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
}
"""The audit uses at most one processor. Each step has other bounds than the step before, so plans are not reused."""

FIND = "SELECT * FROM audit_passes WHERE is_present = $1"
BEGIN = "INSERT INTO audit_passes (is_present) VALUES (false) ON CONFLICT DO NOTHING"
HOLD = "SELECT true FROM audit_passes WHERE id = $1 AND flush = $2 FOR UPDATE"
HOLD_UNDER_WAY = "SELECT true FROM audit_passes WHERE id = $1 AND NOT is_present FOR UPDATE"
# The next flushes, up to about $2 payments; the newest flush if fewer payments remain.
UNTIL = """
SELECT CASE WHEN count(next_flush) < $2 AND coalesce(bool_and(before < $2), true) THEN number
       ELSE max(next_flush) FILTER (WHERE before < $2) END AS until, number
FROM flush LEFT JOIN LATERAL (
    SELECT next.flush AS next_flush, sum(size) OVER (ORDER BY next.flush, id) - size AS before FROM (
        SELECT flush, id, size FROM batches WHERE flush > $1 AND flush <= number ORDER BY flush LIMIT $2
    ) next
) counted ON true GROUP BY number
"""
SPAN = {
    "batches": "SELECT * FROM batches WHERE flush > {after} AND flush <= {until}",
    "transaction_versions": "SELECT * FROM transaction_versions WHERE batch = ANY(ARRAY(SELECT id FROM batches))",
    "transaction_history": """
        SELECT * FROM transaction_history WHERE reversal_batch = ANY(ARRAY(SELECT id FROM batches))
    """,
    "windows": """
        SELECT * FROM windows WHERE id = ANY(ARRAY(SELECT window_id FROM batches))
        OR id >= {first_window} AND CASE WHEN state = 'open' THEN {is_present} ELSE flush <= {until} END
    """,
    "window_totals": "SELECT * FROM window_totals WHERE window_id = ANY(ARRAY(SELECT id FROM windows))",
    "entries": ENTRIES,
    "liquidity_history": """
        SELECT * FROM liquidity_history
        WHERE flush > {after} AND flush <= {until} OR highest_flush > {after} AND highest_flush <= {until}
    """,
    "span": """
        SELECT {after}::bigint AS after, {until}::bigint AS until, {first_window}::bigint AS first_window,
               {is_present} AS is_present
    """,
    "verified_balances": "SELECT bank, account, currency, amount FROM audit_balances WHERE pass_id = {id}",
    "verified_totals": "SELECT * FROM audit_totals WHERE pass_id = {id}",
    "verified_interest": "SELECT * FROM audit_interest WHERE pass_id = {id}",
}
"""The relation behind each name in a step. Later relations read earlier relations."""

WEIGHT = "('x' || left(md5(concat_ws(' ', bank, account, currency)), 12))::bit(48)::bigint"
"""Each account has its own weight. A sum of weighted amounts proves the balance of each account without a row for
each."""
ADD_TO_BALANCES = f"""
INSERT INTO audit_balances AS held (pass_id, bank, account, currency, amount, weighed)
SELECT $1, bank, CASE WHEN bank = '{POLKA}' THEN account ELSE '' END, currency, sum(amount), sum(amount * {WEIGHT})
FROM (
    SELECT bank, account, currency, sum(amount) AS amount FROM entries
    WHERE batch IN (SELECT id FROM batches) GROUP BY 1, 2, 3
) moved, verdict WHERE is_clean GROUP BY 2, 3, 4
ON CONFLICT (pass_id, bank, account, currency)
DO UPDATE SET amount = held.amount + excluded.amount, weighed = held.weighed + excluded.weighed
"""
ADD_TO_TOTALS = f"""
INSERT INTO audit_totals AS held (pass_id, window_id, bank, currency, debits, credits, count, fees)
SELECT $1, made.* FROM ({NEW_TOTALS}) made, verdict WHERE is_clean AND window_id IS NOT NULL
ON CONFLICT (pass_id, window_id, bank, currency) DO UPDATE
SET debits = held.debits + excluded.debits, credits = held.credits + excluded.credits,
    count = held.count + excluded.count, fees = held.fees + excluded.fees
"""
KEEP_INTEREST = f"""
INSERT INTO audit_interest (pass_id, bank, currency, debit, credit, at)
SELECT $1, bank, currency, coalesce(sum(debit) FILTER (WHERE window_id IS NULL), 0),
       coalesce(sum(credit) FILTER (WHERE window_id IS NULL), 0), max(at)
FROM ({ACCRUED}) accrued, verdict WHERE is_clean GROUP BY 2, 3
ON CONFLICT (pass_id, bank, currency)
DO UPDATE SET debit = excluded.debit, credit = excluded.credit, at = excluded.at
"""
ADD = f"""
added_to_balances AS ({ADD_TO_BALANCES}), added_to_totals AS ({ADD_TO_TOTALS}), kept_interest AS ({KEEP_INTEREST})
"""
"""Adds a step to the verified sums if the relation `verdict` says so. All parts read the sums before the step."""
FORGET_TOTALS = """
DELETE FROM audit_totals WHERE pass_id = $1 AND window_id IN (
    SELECT id FROM windows, span WHERE state <> 'open' AND flush <= until
)
"""
GO_ON = """
UPDATE audit_passes SET flush = until, first_window = coalesce(
    (SELECT max(id) + 1 FROM windows WHERE id >= span.first_window AND state <> 'open' AND flush <= until),
    span.first_window
) FROM span WHERE audit_passes.id = $1 RETURNING audit_passes.*
"""
# At the present, the verified sums of a pass must equal the stored balances.
BALANCES = {
    "A bank's balance is the sum of its entries": """
        SELECT concat_ws(' ', bank, currency) AS subject, coalesce(amount, 0) AS expected,
               coalesce(balance, 0) AS found
        FROM (
            SELECT bank, currency, sum(amount) AS amount FROM audit_balances WHERE pass_id = $1 GROUP BY 1, 2
        ) verified FULL JOIN balances USING (bank, currency) WHERE coalesce(amount, 0) <> coalesce(balance, 0)
    """,
    "An account's balance is the sum of its entries": f"""
        SELECT concat_ws(' ', 'accounts of', bank, currency) AS subject,
               CASE WHEN is_moved THEN 1 ELSE coalesce(amount, 0) END AS expected,
               CASE WHEN is_moved THEN 0 ELSE coalesce(balance, 0) END AS found
        FROM (
            SELECT bank, currency, sum(amount) AS amount, sum(weighed) AS weighed
            FROM audit_balances WHERE pass_id = $1 GROUP BY 1, 2
        ) verified FULL JOIN (
            SELECT bank, currency, sum(balance) AS balance, sum(balance * {WEIGHT}) AS held
            FROM accounts GROUP BY 1, 2
        ) stored USING (bank, currency), LATERAL (SELECT amount IS NOT DISTINCT FROM balance AS is_moved) moved
        WHERE coalesce(amount, 0) <> coalesce(balance, 0) OR coalesce(weighed, 0) <> coalesce(held, 0)
    """,
}
TABLES = ("audit_balances", "audit_totals", "audit_interest")


class Pass(msgspec.Struct, frozen=True):
    """The progress of a pass: its latest flush, and the first window that was not closed by then.

    `is_present` is True once the pass has reached the present. Then the pass follows new flushes.
    """

    id: int
    flush: int
    first_window: int
    is_present: bool
    began_at: datetime


class Step(msgspec.Struct, frozen=True):
    """The result of one or several steps: the new state of the pass, the number of payments, and the findings.

    `is_done` is True if the last step covers the newest flush.
    """

    reached: Pass
    payments: int
    findings: Findings
    is_done: bool


async def find_pass(connection: Connection, is_present: bool) -> Pass | None:
    """The following pass (`is_present`), or the pass under way."""
    row = await connection.fetchrow(FIND, is_present)
    return pass_of(row) if row else None


async def begin_pass(connection: Connection) -> Pass:
    """The pass under way. A new pass begins if there is none."""
    with database.bounded(connection, STEP_SECONDS):
        while (found := await find_pass(connection, is_present=False)) is None:
            await connection.execute(BEGIN)
    return found


async def advance(connection: Connection, one: Pass, step_payments: int, payments_max: int | None = None) -> Step:
    """Take steps of about `step_payments` payments until the pass reaches the present, finds a fault, or has proved
    `payments_max` payments.

    Raises:
        asyncpg.SerializationError: another audit takes the same step.
    """
    payments = 0
    while True:
        began = time.monotonic()
        done = await step(connection, one, step_payments)
        payments += done.payments
        if done.is_done or done.findings or (payments_max is not None and payments >= payments_max):
            return msgspec.structs.replace(done, payments=payments)
        one = done.reached
        await asyncio.sleep(PAUSE * (time.monotonic() - began))


async def step(connection: Connection, one: Pass, payments_max: int) -> Step:
    """Prove the postings of the next flushes, and add the flushes to the verified sums if there is no finding.

    At the present, the verified sums must equal the stored balances.
    """
    with database.bounded(connection, STEP_SECONDS):
        return await prove(connection, one, payments_max)


async def prove(connection: Connection, one: Pass, payments_max: int) -> Step:
    async with connection.transaction(isolation="repeatable_read"):
        if not await connection.fetchval(HOLD, one.id, one.flush):
            raise asyncpg.SerializationError("another audit has taken this step")
        until, number = await connection.fetchrow(UNTIL, one.flush, payments_max)
        is_done = until >= number
        await connection.execute("SET LOCAL enable_nestloop = off")  # the planner expects fewer rows than a step has
        given = relations(one, number if is_done else until, is_done)
        names = CHECKS_OF_A_STEP + CHECKS_AT_PRESENT if is_done else CHECKS_OF_A_STEP
        checks = {name: CHECKS[name] for name in names}
        payments = await connection.fetchval(f"WITH {given} SELECT coalesce(sum(size), 0)::bigint FROM batches")
        if findings := await add_unless_found(connection, checks, given, one.id):
            return Step(one, payments, findings, is_done)
        await connection.execute(f"WITH {given} {FORGET_TOTALS}", one.id)
        reached = pass_of(await connection.fetchrow(f"WITH {given} {GO_ON}", one.id))
        return Step(reached, payments, await look_at(connection, BALANCES, "", one.id) if is_done else {}, is_done)


def relations(one: Pass, until: int, is_present: bool) -> str:
    """The relations of the step. Each of its statements begins with these relations."""
    bounds = {
        "id": one.id,
        "after": one.flush,
        "until": until,
        "first_window": one.first_window,
        "is_present": is_present,
    }
    return ", ".join(f"{name} AS MATERIALIZED ({rows.format(**bounds)})" for name, rows in SPAN.items())


async def add_unless_found(connection: Connection, checks: Mapping[str, str], given: str, pass_id: int) -> Findings:
    """Add the step to the verified sums, or return the findings.

    One statement for all makes the relations once, and takes half of the time of a statement for each. Only if
    something is found, the checks run again one by one.

    Raises:
        asyncpg.DataError: the step was not added, and no check alone finds the reason.
    """
    counts = " + ".join(f"(SELECT count(*) FROM ({query}) found)" for query in checks.values())
    verdict = f"verdict AS MATERIALIZED (SELECT {counts} = 0 AS is_clean)"
    unfit = asyncpg.DataError("checks find a difference together, and none alone")
    try:
        async with connection.transaction():
            if await connection.fetchval(f"WITH {given}, {verdict}, {ADD} SELECT is_clean FROM verdict", pass_id):
                return {}
    except asyncpg.DataError as error:  # a check cannot read what is stored
        unfit = error
    if findings := await look_at(connection, checks, given):
        return findings
    raise unfit  # the step was not added, so the pass must not go on


async def look_at(connection: Connection, checks: Mapping[str, str], given: str = "", *values: Any) -> Findings:
    """The findings of several checks; see `look`."""
    found = {name: await look(connection, query, given, *values) for name, query in checks.items()}
    return {name: differences for name, differences in found.items() if differences}


async def succeed(connection: Connection, one: Pass) -> None:
    """Let the pass, which has reached the present, replace the following pass."""
    with database.bounded(connection, STEP_SECONDS):
        await take_place(connection, one)


async def take_place(connection: Connection, one: Pass) -> None:
    async with connection.transaction(isolation="read_committed"):
        if not await connection.fetchval(HOLD_UNDER_WAY, one.id):
            return
        former = await connection.fetchval("DELETE FROM audit_passes WHERE is_present RETURNING id")
        await connection.execute("UPDATE audit_passes SET is_present = true WHERE id = $1", one.id)
        for table in TABLES:
            await connection.execute(f"DELETE FROM {table} WHERE pass_id = $1", former)


def pass_of(row: asyncpg.Record) -> Pass:
    return Pass(*(row[name] for name in Pass.__struct_fields__))
