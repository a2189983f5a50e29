"""Closing and settling clearing windows: each is one transaction under the epoch, and does nothing a second time.

What closes by schedule is recorded with its time, in the transaction that closes: so it is done once.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from cache.flush import NUMBER_FLUSH, Flushed, OutdatedError, add_to_balances, hold, totals_by_account, totals_by_bank
from cache.ledger import Posted
from polka.clearing import WINDOW, window_of
from polka.database import Connection
from polka.transactions import Entry
from polka.windows import Conflict, Window, refused_closing, refused_settling, settlement_entries

CLOSE = """
UPDATE windows SET state = 'closed', closed_at = now(), flush = $2, scheduled_for = $3
WHERE id = $1 AND state = 'open' RETURNING *
"""
OPEN = "INSERT INTO windows (id) VALUES ($1)"
NETS = "SELECT bank, currency, credits - debits AS net FROM window_totals WHERE window_id = $1 ORDER BY currency, bank"
POST_SETTLEMENT = """
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
    """The time after which those of the schedule were not fired yet, and the windows that it closed and that are to be
    settled."""

    since: datetime
    unsettled: Sequence[int]


class Settled(msgspec.Struct, frozen=True):
    """A settled window, and the flush that its settlement was; None if it had nothing to settle, or was settled."""

    window: Window
    flushed: Flushed | None


async def close(connection: Connection, epoch: int, window: int, flush: int) -> Window | Conflict:
    """Close the window, whose latest flush this was, and open the next. One that is closed stays as it is.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        open_window = (await hold(connection, epoch)).window
        if refused := refused_closing(window, open_window):
            return refused
        if window < open_window:
            return window_of(await connection.fetchrow(WINDOW, window))
        return await close_open(connection, window, flush, None)


async def fire(connection: Connection, epoch: int, firing: datetime, flush: int) -> Window:
    """Close the window that is open, whose latest flush this was, at a time of the schedule, and open the next.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        return await close_open(connection, (await hold(connection, epoch)).window, flush, firing)


async def follow(connection: Connection, epoch: int, expression: str) -> Followed:
    """Have this schedule in force: if it is another one, from now on.

    Raises:
        OutdatedError: another cache has the epoch.
    """
    async with connection.transaction(isolation="read_committed"):
        await hold(connection, epoch)
        await connection.execute(FOLLOW, expression)
        row = await connection.fetchrow(FOLLOWED)
    return Followed(row["since"], row["unsettled"])


async def settle(
    connection: Connection, epoch: int, window: int, number: int, batch: UUID
) -> Settled | Conflict | None:
    """Bring the window's nets to zero by a batch, posted as flush `number`. None if there is no such window.

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
            return Settled(found, None)
        rows = await connection.fetch(NETS, window)
        entries = settlement_entries((row["bank"], row["currency"], int(row["net"])) for row in rows)
        flushed = None
        if entries:
            await post(connection, window, number, Posted(batch, entries))
            flushed = Flushed(number, held.at, [Posted(batch, entries)], [], is_last=True)
        return Settled(await changed(connection, SETTLE, window, batch if entries else None), flushed)


async def close_open(connection: Connection, window: int, flush: int, scheduled_for: datetime | None) -> Window:
    closed = await changed(connection, CLOSE, window, flush, scheduled_for)
    await connection.execute(OPEN, window + 1)
    return closed


async def changed(connection: Connection, statement: str, *values: Any) -> Window:
    """The window as the statement has changed it, which is on condition of its state."""
    row = await connection.fetchrow(statement, *values)
    if row is None:
        raise OutdatedError
    return window_of(row)


async def post(connection: Connection, window: int, number: int, batch: Posted) -> None:
    """Write the batch as one that flush `number` has posted, with the balances that it makes."""
    size = len(batch.entries) // 2
    await connection.execute(POST_SETTLEMENT, batch.id, size, to_json(batch.entries), number, window)
    accounts = totals_by_account(batch.entries)
    await add_to_balances(connection, accounts, totals_by_bank(accounts))
    if not await connection.fetchval(NUMBER_FLUSH, number):
        raise OutdatedError


def to_json(entries: Iterable[Entry]) -> str:
    """As a payload. A net knows no bound, and msgspec writes whole numbers up to 64 bits."""
    return json.dumps(list(entries), separators=(",", ":"))
