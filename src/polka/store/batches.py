"""The tombstone: the only way to find the outcome of a batch after the answer of its commit was lost."""

from uuid import UUID

import asyncpg
import uuid_utils

from polka.store import barrier
from polka.store.database import Connection

TOMBSTONE = "INSERT INTO batches (id, state, size) VALUES ($1, 'void', 0) ON CONFLICT DO NOTHING"
FATE = barrier.after("SELECT state, flush, created_at FROM batches WHERE id = $1")


async def settle(connection: Connection, batch: UUID | uuid_utils.UUID) -> asyncpg.Record:
    """The batch's row: `state`, `flush`, `created_at`. If the row does not exist, a tombstone (`void`) is inserted.

    The insert waits for a commit in flight. After the insert of a tombstone, this id can never commit. A second
    statement reads an existing row, because the first statement's snapshot cannot see a row that was committed during
    the wait.
    """
    await connection.execute(TOMBSTONE, batch)
    return await connection.fetchrow(FATE, batch)
