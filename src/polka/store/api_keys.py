"""The table of API keys: making, listing, revoking and reading keys. Every change notifies the listening apis."""

import secrets
from collections.abc import Collection
from enum import Enum
from uuid import UUID

import asyncpg
import msgspec
import uuid_utils

from polka.rules import keys
from polka.rules.keys import ApiKey, Caller, NewKey, Scope
from polka.store.database import Connection, Pool

CHANNEL = "polka_api_keys"
"""Apis LISTEN here. The payload of a notification is empty."""

# Each writing statement notifies in its own transaction.

COLUMNS = "id, name, bank, scopes, created_at, revoked_at, expires_at, last_used_at"
IS_IN_FORCE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
# The lock on the maker's row orders a revocation and a creation: a revoked maker creates no key.
CREATE = f"""
WITH checked AS (
    SELECT CASE
        WHEN EXISTS (SELECT FROM api_keys WHERE hash = $2) THEN 'taken'
        WHEN $4::text IS NOT NULL AND NOT EXISTS (SELECT FROM banks WHERE name = $4) THEN 'unknown bank'
        WHEN $6::timestamptz <= now() THEN 'expired'
        WHEN $7::uuid IS NOT NULL AND NOT EXISTS (SELECT FROM api_keys WHERE id = $7 AND {IS_IN_FORCE} FOR SHARE)
        THEN 'maker not in force'
    END AS reason
), created AS (
    INSERT INTO api_keys (id, hash, name, bank, scopes, expires_at)
    SELECT $1::uuid, $2::bytea, $3::text, $4, $5::text[], $6 FROM checked WHERE reason IS NULL
    ON CONFLICT (hash) DO NOTHING
    RETURNING {COLUMNS}
)
SELECT coalesce(reason, 'taken') AS reason, created.*,
       CASE WHEN created.id IS NOT NULL THEN pg_notify('{CHANNEL}', '') END
FROM checked LEFT JOIN created ON true
"""
REVOKE = f"""
WITH revoked AS (
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING {COLUMNS}
)
SELECT revoked.*, pg_notify('{CHANNEL}', '') FROM revoked
"""
LIST = f"SELECT {COLUMNS} FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2"
FIND = f"SELECT {COLUMNS} FROM api_keys WHERE hash = $1"
FIRST_ID = UUID(int=0)
"""Before all other ids."""
ANY = "SELECT EXISTS (SELECT FROM api_keys)"
VERSION = """
SELECT count(*) AS made, count(revoked_at) AS revoked, extract(epoch FROM clock_timestamp())::float8 AS time
FROM api_keys
"""
"""Keys are never deleted, and revocations are final. The counts therefore change with every change of the keys in
force."""
IN_FORCE = f"SELECT hash, id::text, bank, scopes, expires_at FROM api_keys WHERE {IS_IN_FORCE}"
# Several apis may record the same key. Rows that another api is writing are skipped. A record may come after the end of
# the key; the use was before.
RECORD_USES = """
UPDATE api_keys SET last_used_at = least(now(), revoked_at, expires_at) FROM (
    SELECT id FROM api_keys
    WHERE id = ANY($1::uuid[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '30 seconds')
    FOR NO KEY UPDATE SKIP LOCKED
) used WHERE api_keys.id = used.id
"""


class NotMade(Enum):
    """The reason for not making a key."""

    UNKNOWN_BANK = "unknown bank"
    EXPIRED = "expired"
    MAKER_NOT_IN_FORCE = "maker not in force"
    TAKEN = "taken"


class Version(msgspec.Struct, frozen=True):
    """The numbers of made and revoked keys, and the database's time (seconds since 1970) of the counts."""

    made: int
    revoked: int
    time: float


def new_key() -> str:
    """A new random key that nobody can guess."""
    return keys.key_of(secrets.token_bytes(keys.RANDOM_BYTES))


async def create(connection: Connection | Pool, key: str, new: NewKey, maker: UUID | None = None) -> ApiKey | NotMade:
    """Store the key's hash with its rights. A key with the id `maker`, if given, must be in force."""
    scopes = [scope.value for scope in Scope if scope in new.scopes]
    hashed = keys.hash_of(key.encode())
    values = (uuid_utils.uuid7(), hashed, new.name, new.bank, scopes, new.expires_at, maker)
    row = await connection.fetchrow(CREATE, *values)
    return api_key_of(row) if row["id"] else NotMade(row["reason"])


async def find(connection: Connection, key: str) -> ApiKey | None:
    """The stored fields of the key, also if the key is revoked."""
    row = await connection.fetchrow(FIND, keys.hash_of(key.encode()))
    return api_key_of(row) if row else None


async def create_operators(connection: Connection, name: str, key: str | None = None) -> str:
    """Make an operator key with all scopes. Uses `key` if given, otherwise a new key."""
    key = key or new_key()
    await create(connection, key, NewKey(name, scopes=tuple(Scope)))
    return key


async def exist(connection: Connection) -> bool:
    """Whether any key was ever made."""
    any_key: bool = await connection.fetchval(ANY)
    return any_key


async def revoke(connection: Connection | Pool, id: UUID) -> ApiKey | None:
    """Reject the key from now on; None if the key does not exist. An earlier revocation stays unchanged."""
    row = await connection.fetchrow(REVOKE, id)
    return api_key_of(row) if row else None


async def listed(connection: Connection | Pool, after: UUID = FIRST_ID, limit: int | None = None) -> list[ApiKey]:
    """Keys in the order of their creation, including revoked keys."""
    return [api_key_of(row) for row in await connection.fetch(LIST, after, limit)]


async def version(connection: Connection | Pool) -> Version:
    """The counts, which change whenever the keys do, and the time."""
    return Version(*await connection.fetchrow(VERSION))


async def record_uses(connection: Connection | Pool, ids: Collection[str]) -> None:
    """Record the current use of the keys with these ids."""
    await connection.execute(RECORD_USES, ids)


async def in_force(connection: Connection | Pool) -> dict[bytes, Caller]:
    """The callers of all keys that are neither revoked nor expired, by the key's hash."""
    return {hash: keys.caller_of(*caller) for hash, *caller in await connection.fetch(IN_FORCE)}


def api_key_of(row: asyncpg.Record) -> ApiKey:
    return ApiKey(str(row["id"]), *(row[name] for name in ApiKey.__struct_fields__[1:]))
