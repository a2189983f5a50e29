"""The positions of banks and accounts: posted, pending, and the flush that `posted` includes."""

import json
from collections.abc import Iterable, Mapping
from itertools import groupby

import asyncpg
import msgspec

from polka.rules.banks import Account, Accounts, AsOf, Bank, Banks, Position
from polka.store.database import Pool


def encode(answer: msgspec.Struct) -> bytes:
    """As JSON. A balance may exceed 64 bits, and msgspec rejects larger integers."""
    try:
        return msgspec.json.encode(answer)
    except OverflowError:
        return json.dumps(msgspec.to_builtins(answer), separators=(",", ":")).encode()


# Each statement reads the balances and the flush's number together: one snapshot.

BANK = """
SELECT currency, balance, number, flushed_at FROM flush LEFT JOIN balances ON bank = $1 ORDER BY currency
"""

BANKS = """
SELECT name, currency, balance, number, flushed_at
FROM flush, (SELECT name FROM banks WHERE name > $1 ORDER BY name LIMIT $2) page
LEFT JOIN balances ON bank = name
ORDER BY name, currency
"""

ACCOUNT = """
SELECT account, currency, balance, number, flushed_at
FROM flush LEFT JOIN (SELECT * FROM accounts WHERE bank = $1 AND account > $2 AND account = $3) page ON true
ORDER BY currency
"""

ACCOUNTS = """
SELECT account, currency, balance, number, flushed_at
FROM flush LEFT JOIN (
    SELECT * FROM accounts
    WHERE bank = $1 AND account > $2
    ORDER BY account
    FETCH FIRST $3 ROWS WITH TIES
) page ON true
ORDER BY account, currency
"""


async def bank(pool: Pool, name: str) -> Bank:
    """From the database alone, as of its latest flush."""
    rows = await pool.fetch(BANK, name)
    return Bank(name, posted(rows), as_of(rows[0]))


async def banks(pool: Pool, after: str, limit: int) -> Banks:
    """A page from the database alone."""
    rows = await pool.fetch(BANKS, after, limit)
    page = [
        Bank(name, posted(group), as_of(group[0]))
        for name, group in ((name, list(group)) for name, group in groupby(rows, lambda row: row["name"]))
    ]
    last = page[-1].name if len(page) == limit else None
    return Banks(page, last, last)


async def accounts(pool: Pool, bank: str, account: str | None, after: str, limit: int) -> Accounts:
    """A page of about `limit` positions from the database alone. With `account`, only this account if it is open."""
    if account is None:
        rows = await pool.fetch(ACCOUNTS, bank, after, limit)
    else:
        rows = await pool.fetch(ACCOUNT, bank, after, account)
    page = [
        Account(account_id, posted(group))
        for account_id, group in groupby(rows, lambda row: row["account"])
        if account_id is not None
    ]
    last = page[-1].account if page and account is None and len(rows) >= limit else None
    return Accounts(bank, page, as_of(rows[0]), last, last)


def posted(rows: Iterable[asyncpg.Record]) -> list[Position]:
    return [Position(row["currency"], int(row["balance"]), None) for row in rows if row["currency"] is not None]


def as_of(row: asyncpg.Record) -> AsOf:
    return AsOf(row["number"], row["flushed_at"])


def with_pending(positions: Iterable[Position], pending: Mapping[str, int]) -> list[Position]:
    """The positions with the pending sum of each currency. A currency may have only a pending sum."""
    known = {position.currency: position.posted for position in positions}
    return [
        Position(currency, known.get(currency, 0), pending.get(currency, 0))
        for currency in sorted(known.keys() | pending.keys())
    ]
