"""The table of banks' terms: reading them, by bank or all of a policy, and changing them. Every version is kept.

A commit holds the policy's advisory lock, shared with other commits, and has checked the version that it was decided
under. A change takes the lock alone: it commits after all that were decided under an older version have ended, and
none of them gets in later.
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
"""No commit that was decided under it is accepted."""


async def of_bank(connection: Connection | Pool, bank: str) -> Agreed:
    """The bank's terms in force."""
    row = await connection.fetchrow(OF_BANK, bank)
    return agreed_of(row) if row else NOTHING_AGREED


async def newest(connection: Connection | Pool, known: Policy) -> Policy:
    """The policy in force, read as what is new since the version that is known.

    An earlier version than that is in force after a failover or a restore that lost changes. It is read as a whole.
    """
    version = await connection.fetchval(VERSION)
    if version == known.version:
        return known
    since = known if version > known.version else NOTHING_KNOWN
    rows = await connection.fetch(NEWER, since.version)
    new = {row["bank"]: agreed_of(row) for row in rows if row["bank"] is not None}
    return Policy(rows[0]["current"], {**since.banks, **new})


async def change(connection: Connection | Pool, bank: str, seen: Agreed, terms: Terms, by: str) -> int | None:
    """Give the bank these terms in place of those that were seen; None if they were changed meanwhile.

    The new version of the policy. Waits for commits in flight, and holds up later ones until it is done: so it does
    not wait long.

    Raises:
        asyncpg.LockNotAvailableError: commits in flight have not ended in time; nothing was changed.
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
