"""The tombstone: the one way to learn for sure what became of a batch whose commit nobody answers for."""

from uuid import UUID

import asyncpg
import uuid_utils

from polka.store import barrier
from polka.store.database import Connection

TOMBSTONE = "INSERT INTO batches (id, state, size) VALUES ($1, 'void', 0) ON CONFLICT DO NOTHING"
FATE = barrier.after("SELECT state, flush, created_at FROM batches WHERE id = $1")


async def settle(connection: Connection, batch: UUID | uuid_utils.UUID) -> asyncpg.Record:
    """The batch's row: `state`, `flush`, `created_at`. It was there, or is a tombstone (`void`) from now on.

    The insert waits for a commit in flight; where it gets in, that id can never commit. The row that was there
    before it is read by a second statement: the first one's snapshot cannot see it.
    """
    await connection.execute(TOMBSTONE, batch)
    return await connection.fetchrow(FATE, batch)
