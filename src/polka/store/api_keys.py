"""The table of API keys: making, listing, revoking and reading them. Every change tells the apis that listen."""

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
"""Apis LISTEN here; what is sent with it says nothing."""

# Each statement that writes notifies by itself, and so in its own transaction.

COLUMNS = "id, name, bank, scopes, created_at, revoked_at, expires_at, last_used_at"
IS_IN_FORCE = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
# The maker's row is locked: either its key is revoked first, and makes no other one, or its new key is there before.
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
"""Before all."""
ANY = "SELECT EXISTS (SELECT FROM api_keys)"
VERSION = """
SELECT count(*) AS made, count(revoked_at) AS revoked, extract(epoch FROM clock_timestamp())::float8 AS time
FROM api_keys
"""
"""Keys are never deleted, nor is a revocation taken back: the counts change with every change of the keys in force."""
IN_FORCE = f"SELECT hash, id::text, bank, scopes, expires_at FROM api_keys WHERE {IS_IN_FORCE}"
# Several apis may say so of the same key. What another one is writing at this moment is passed over.
RECORD_USES = """
UPDATE api_keys SET last_used_at = now() FROM (
    SELECT id FROM api_keys
    WHERE id = ANY($1::uuid[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '30 seconds')
    FOR NO KEY UPDATE SKIP LOCKED
) used WHERE api_keys.id = used.id
"""


class NotMade(Enum):
    """Why a key was not made."""

    UNKNOWN_BANK = "unknown bank"
    EXPIRED = "expired"
    MAKER_NOT_IN_FORCE = "maker not in force"
    TAKEN = "taken"


class Version(msgspec.Struct, frozen=True):
    """How many keys were made and revoked, and the database's time (seconds since 1970) at which that was so."""

    made: int
    revoked: int
    time: float


def new_key() -> str:
    """A key that nobody has, and nobody can guess."""
    return keys.key_of(secrets.token_bytes(keys.RANDOM_BYTES))


async def create(connection: Connection | Pool, key: str, new: NewKey, maker: UUID | None = None) -> ApiKey | NotMade:
    """Store the key's hash with what it may do. The key with the id `maker`, if one asks for it, must be in force."""
    scopes = [scope.value for scope in Scope if scope in new.scopes]
    hashed = keys.hash_of(key.encode())
    values = (uuid_utils.uuid7(), hashed, new.name, new.bank, scopes, new.expires_at, maker)
    row = await connection.fetchrow(CREATE, *values)
    return api_key_of(row) if row["id"] else NotMade(row["reason"])


async def find(connection: Connection, key: str) -> ApiKey | None:
    """What is stored of the key, also of one that is revoked."""
    row = await connection.fetchrow(FIND, keys.hash_of(key.encode()))
    return api_key_of(row) if row else None


async def create_operators(connection: Connection, name: str, key: str | None = None) -> str:
    """Make a key of operators that may do everything, or this one."""
    key = key or new_key()
    await create(connection, key, NewKey(name, scopes=tuple(Scope)))
    return key


async def exist(connection: Connection) -> bool:
    """Whether there ever was a key."""
    any_key: bool = await connection.fetchval(ANY)
    return any_key


async def revoke(connection: Connection | Pool, id: UUID) -> ApiKey | None:
    """Have the key refused from now on; None where there is none. One that was revoked before stays as it is."""
    row = await connection.fetchrow(REVOKE, id)
    return api_key_of(row) if row else None


async def listed(connection: Connection | Pool, after: UUID = FIRST_ID, limit: int | None = None) -> list[ApiKey]:
    """Keys in the order in which they were made, the revoked ones too."""
    return [api_key_of(row) for row in await connection.fetch(LIST, after, limit)]


async def version(connection: Connection | Pool) -> Version:
    """What changes whenever the keys do, and the time."""
    return Version(*await connection.fetchrow(VERSION))


async def record_uses(connection: Connection | Pool, ids: Collection[str]) -> None:
    """Record that the keys with these ids are in use now."""
    await connection.execute(RECORD_USES, ids)


async def in_force(connection: Connection | Pool) -> dict[bytes, Caller]:
    """The callers of all keys that are neither revoked nor expired, by the key's hash."""
    return {hash: keys.caller_of(*caller) for hash, *caller in await connection.fetch(IN_FORCE)}


def api_key_of(row: asyncpg.Record) -> ApiKey:
    return ApiKey(str(row["id"]), *(row[name] for name in ApiKey.__struct_fields__[1:]))
