"""The table of banks' terms: reading the terms of a bank or of a whole policy, and changing terms. All versions are
kept.

A commit holds the policy's advisory lock, shared with other commits, and has checked the version of its decision. A
change takes the lock exclusively. The change therefore commits after all commits under an older version have ended, and
no later commit uses an older version.
"""

from typing import Any

import asyncpg
import msgspec

from polka.rules.policy import NOTHING_AGREED, Agreed, Fee, Interest, Policy, Terms
from polka.store import barrier
from polka.store.database import Connection, Pool

OF_BANK = """
SELECT version, in_force_from, caps, suspended, fees, interest FROM bank_terms WHERE bank = $1
ORDER BY version DESC LIMIT 1
"""
VERSION = "SELECT version FROM policy"
NEWER = barrier.after("""
SELECT policy.version AS current, latest.* FROM policy LEFT JOIN (
    SELECT DISTINCT ON (bank) * FROM bank_terms WHERE version > $1
    ORDER BY bank, version DESC
) latest ON true
""")
CHANGE = "SELECT polka_change_terms($1, $2, $3, $4, $5, $6, $7)"
NOTHING_KNOWN = Policy(-1)
"""Commits that were decided under this policy are rejected."""


async def of_bank(connection: Connection | Pool, bank: str) -> Agreed:
    """The bank's terms in force."""
    row = await connection.fetchrow(OF_BANK, bank)
    return agreed_of(row) if row else NOTHING_AGREED


async def newest(connection: Connection | Pool, known: Policy) -> Policy:
    """The policy in force. Only versions after the known version are read.

    A failover or a restore that lost changes puts an earlier version in force. Then the whole policy is read.
    """
    version = await connection.fetchval(VERSION)
    if version == known.version:
        return known
    since = known if version > known.version else NOTHING_KNOWN
    rows = await connection.fetch(NEWER, since.version)
    new = {row["bank"]: agreed_of(row) for row in rows if row["bank"] is not None}
    return Policy(rows[0]["current"], {**since.banks, **new})


async def change(connection: Connection | Pool, bank: str, seen: Agreed, terms: Terms, by: str) -> int | None:
    """Give the bank these terms in place of the seen terms. Returns the new version of the policy; None if the terms
    were changed meanwhile.

    Waits for commits in flight, and blocks later commits during the wait. Therefore the wait is short.

    Raises:
        asyncpg.LockNotAvailableError: commits in flight did not end in time. Nothing was changed.
    """
    columns = (encode(terms.caps), terms.suspended, encode(terms.fees), encode(terms.interest))
    version: int | None = await connection.fetchval(CHANGE, bank, seen.version, *columns, by)
    return version


def agreed_of(row: asyncpg.Record) -> Agreed:
    terms = Terms(
        msgspec.json.decode(row["caps"], type=dict[str, int]),
        row["suspended"],
        msgspec.json.decode(row["fees"], type=dict[str, Fee]),
        msgspec.json.decode(row["interest"], type=dict[str, Interest]),
    )
    return Agreed(terms, row["version"], row["in_force_from"])


def encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
