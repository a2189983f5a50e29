"""Closing and settling of clearing windows. Each is one transaction under the epoch, and has no effect a second time.

The transaction that closes a window also records the scheduled time and books interest, so both happen once.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from cache.ledger import samples
from cache.ledger.flush import (
    NUMBER_FLUSH,
    Flushed,
    Held,
    OutdatedError,
    add_to_balances,
    add_to_window,
    hold,
    totals_by_account,
    totals_by_bank,
)
from cache.ledger.interest import book
from cache.ledger.ledger import Posted
from polka.rules import interest
from polka.rules.transactions import Entry
from polka.rules.windows import Conflict, Window, refused_closing, refused_settling, settlement_entries
from polka.store.clearing import WINDOW, window_of
from polka.store.database import Connection

CLOSE = """
UPDATE windows SET state = 'closed', closed_at = now(), flush = $2, scheduled_for = $3, interest_batch = $4
WHERE id = $1 AND state = 'open' RETURNING *
"""
OPEN = "INSERT INTO windows (id) VALUES ($1)"
NETS = "SELECT bank, currency, credits - debits AS net FROM window_totals WHERE window_id = $1 ORDER BY currency, bank"
POST = """
INSERT INTO batches (id, state, size, payload, flush, posted_at, window_id)
VALUES ($1, 'posted', $2, $3, $4, now(), $5)
"""
SETTLE = """
UPDATE windows SET state = 'settled', settled_at = now(), settlement = $2 WHERE id = $1 AND state = 'closed' RETURNING *
"""
FOLLOW = "UPDATE clearing_schedule SET expression = $1, since = now() WHERE expression <> $1"
FOLLOWED = """
SELECT greatest(since, (SELECT max(scheduled_for) FROM windows)) AS since, ARRAY(
    SELECT id FROM windows WHERE state = 'closed' AND scheduled_for IS NOT NULL ORDER BY id
) AS unsettled FROM clearing_schedule
"""


class Followed(msgspec.Struct, frozen=True):
    """The state of the schedule: the last fired time, and the windows that the schedule closed and nobody has settled
    yet."""

    since: datetime
    unsettled: Sequence[int]


class Done(msgspec.Struct, frozen=True):
    """A closed or settled window, and the flush of its interest or settlement. `flushed` is None without entries, or if
    the work was done before."""

    window: Window
    flushed: Flushed | None


async def close(connection: Connection, epoch: int, window: int, number: int, batch: UUID) -> Done | Conflict:
    """Close the window after flush `number` - 1, and open the next window. A closed window stays unchanged.

    The batch books the accrued interest, as flush `number`.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        held = await hold(connection, epoch)
        if refused := refused_closing(window, held.window):
            return refused
        if window < held.window:
            return Done(window_of(await connection.fetchrow(WINDOW, window)), None)
        return await close_open(connection, held, number, batch, None)


async def fire(connection: Connection, epoch: int, firing: datetime, number: int, batch: UUID) -> Done:
    """Close the open window in the same way, at a time of the schedule.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        return await close_open(connection, await hold(connection, epoch), number, batch, firing)


async def follow(connection: Connection, epoch: int, expression: str) -> Followed:
    """Put this schedule in force. A changed schedule is in force from now on.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        await hold(connection, epoch)
        await connection.execute(FOLLOW, expression)
        row = await connection.fetchrow(FOLLOWED)
    return Followed(row["since"], row["unsettled"])


async def settle(connection: Connection, epoch: int, window: int, number: int, batch: UUID) -> Done | Conflict | None:
    """Bring the window's nets to zero with a batch, posted as flush `number`. None if the window does not exist.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        held = await hold(connection, epoch)
        row = await connection.fetchrow(WINDOW, window)
        if row is None:
            return None
        found = window_of(row)
        if refused := refused_settling(found):
            return refused
        if found.state == "settled":
            return Done(found, None)
        rows = await connection.fetch(NETS, window)
        entries = settlement_entries((row["bank"], row["currency"], int(row["net"])) for row in rows)
        flushed = None
        if entries:
            flushed = await post(connection, held, window, number, Posted(batch, entries))
        return Done(await changed(connection, SETTLE, window, batch if entries else None), flushed)


async def close_open(
    connection: Connection, held: Held, number: int, batch: UUID, scheduled_for: datetime | None
) -> Done:
    flushed = await book_interest(connection, held, number, batch) if held.bears_interest else None
    latest, booked = (number, batch) if flushed else (number - 1, None)
    closed = await changed(connection, CLOSE, held.window, latest, scheduled_for, booked)
    await connection.execute(OPEN, held.window + 1)
    return Done(closed, flushed)


async def book_interest(connection: Connection, held: Held, number: int, batch: UUID) -> Flushed | None:
    """Post the interest accrued in the open window; None if nothing has accrued."""
    amounts = await book(connection, held.at)
    posted = Posted(batch, interest.entries(amounts))
    if not posted.entries:
        return None
    banks = totals_by_bank(totals_by_account(posted.entries))
    await add_to_window(connection, held.window, banks, earned={key: sums[1] - sums[0] for key, sums in banks.items()})
    return await post(connection, held, held.window, number, posted)


async def changed(connection: Connection, statement: str, *values: Any) -> Window:
    """The window after the statement, which requires a certain state of the window."""
    row = await connection.fetchrow(statement, *values)
    if row is None:
        raise OutdatedError
    return window_of(row)


async def post(connection: Connection, held: Held, window: int, number: int, batch: Posted) -> Flushed:
    """Write a batch that flush `number` has posted in the window, with the resulting balances."""
    size = len(batch.entries) // 2
    await connection.execute(POST, batch.id, size, to_json(batch.entries), number, window)
    accounts = totals_by_account(batch.entries)
    changes = await add_to_balances(connection, held, accounts, totals_by_bank(accounts))
    if not await connection.fetchval(NUMBER_FLUSH, number):
        raise OutdatedError
    liquidity = await samples.record(connection, changes, held.at, number)
    return Flushed(number, held.at, [batch], [], liquidity, is_last=True)


def to_json(entries: Iterable[Entry]) -> str:
    """As a payload. An amount may exceed 64 bits, and msgspec rejects larger integers."""
    return json.dumps(list(entries), separators=(",", ":"))
