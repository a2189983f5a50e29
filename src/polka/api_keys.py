"""The table of API keys: making, listing, revoking and reading them. Every change tells the apis that listen."""

import secrets
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec
import uuid_utils

from polka import keys
from polka.database import Connection, Pool
from polka.keys import Caller, NewKey, Scope

CHANNEL = "polka_api_keys"
"""Apis LISTEN here; what is sent with it says nothing."""

# Each statement that writes notifies by itself, and so in its own transaction.

CREATE = f"""
WITH created AS (
    INSERT INTO api_keys (id, hash, name, bank, scopes)
    SELECT $1::uuid, $2::bytea, $3::text, $4::text, $5::text[]
    WHERE $4::text IS NULL OR EXISTS (SELECT FROM banks WHERE name = $4)
    ON CONFLICT (hash) DO NOTHING
    RETURNING id, name, bank, scopes, created_at, revoked_at
)
SELECT created.*, pg_notify('{CHANNEL}', '') FROM created
"""
REVOKE = f"""
WITH revoked AS (
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
    RETURNING id, name, bank, scopes, created_at, revoked_at
)
SELECT revoked.*, pg_notify('{CHANNEL}', '') FROM revoked
"""
LIST = """
SELECT id, name, bank, scopes, created_at, revoked_at FROM api_keys WHERE id > $1 ORDER BY id LIMIT $2
"""
FIND = "SELECT id, name, bank, scopes, created_at, revoked_at FROM api_keys WHERE hash = $1"
FIRST_ID = UUID(int=0)
"""Before all."""
ANY = "SELECT EXISTS (SELECT FROM api_keys)"
VERSION = "SELECT count(*) AS made, count(revoked_at) AS revoked FROM api_keys"
"""Keys are never deleted, nor is a revocation taken back: a change of the table is a change of these."""
IN_FORCE = "SELECT hash, id::text, bank, scopes FROM api_keys WHERE revoked_at IS NULL"


class ApiKey(msgspec.Struct, frozen=True):
    """What may be known of a key."""

    id: str
    name: str
    bank: str | None
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


def new_key() -> str:
    """A key that nobody has, and nobody can guess."""
    return keys.key_of(secrets.token_bytes(keys.RANDOM_BYTES))


async def create(connection: Connection | Pool, key: str, new: NewKey) -> ApiKey | None:
    """Store the key's hash with what it may do; None where there is no such bank, or the key is there already."""
    scopes = [scope.value for scope in Scope if scope in new.scopes]
    hashed = keys.hash_of(key.encode())
    row = await connection.fetchrow(CREATE, uuid_utils.uuid7(), hashed, new.name, new.bank, scopes)
    return api_key_of(row) if row else None


async def find(connection: Connection, key: str) -> ApiKey | None:
    """What is stored of the key, also of one that is revoked."""
    row = await connection.fetchrow(FIND, keys.hash_of(key.encode()))
    return api_key_of(row) if row else None


async def create_operators(connection: Connection, name: str) -> str:
    """Make a key of operators that may do everything."""
    key = new_key()
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


async def version(connection: Connection | Pool) -> tuple[int, int]:
    """What changes whenever the keys do."""
    row = await connection.fetchrow(VERSION)
    return row["made"], row["revoked"]


async def in_force(connection: Connection | Pool) -> dict[bytes, Caller]:
    """The callers of all keys that are not revoked, by the key's hash."""
    return {
        row["hash"]: keys.caller_of(row["id"], row["bank"], row["scopes"]) for row in await connection.fetch(IN_FORCE)
    }


def api_key_of(row: asyncpg.Record) -> ApiKey:
    return ApiKey(str(row["id"]), row["name"], row["bank"], row["scopes"], row["created_at"], row["revoked_at"])
