"""The current generation of idempotency keys, in memory, so that a payment costs no query for the generation.

A statement names a generation, and fails if a newer generation has begun. A statement that follows a read of the
generation sees all keys of the previous generation, because no key was added there since.
"""

from datetime import datetime

import msgspec

from polka.store.database import Connection

READ = "SELECT number, began_at FROM idempotency_generation"


class Generation(msgspec.Struct, frozen=True):
    number: int
    began_at: datetime

    @property
    def table(self) -> str:
        """The table of its keys."""
        return f"idempotency_keys_{self.number % 3}"

    @property
    def previous_table(self) -> str:
        """The table of the previous generation's keys. Before the first generation, the parent table held all keys."""
        return "ONLY idempotency_keys" if self.number == 1 else f"idempotency_keys_{(self.number - 1) % 3}"


class Generations:
    """The current generation as of the last read."""

    def __init__(self) -> None:
        self._known: Generation | None = None

    async def present(self, connection: Connection) -> Generation:
        """The known generation. The first call, and each call after `forget`, reads it over this connection."""
        if self._known is None:
            self._known = Generation(*await connection.fetchrow(READ))
        return self._known

    def forget(self) -> None:
        """Read the generation again before its next use, because a statement has failed with an outdated generation."""
        self._known = None
