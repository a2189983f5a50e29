"""The generation that idempotency keys go into, known in memory, so that a payment costs no query for it.

A statement names the generation that it was made for, and fails if that is no longer the present one. A statement that
was made after this process had read a generation sees all keys of the one before: no key was added to that since.
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
        """Where its keys are."""
        return f"idempotency_keys_{self.number % 3}"

    @property
    def previous_table(self) -> str:
        """Where the keys of the generation before are. Before the first one, the parent itself held all keys."""
        return "ONLY idempotency_keys" if self.number == 1 else f"idempotency_keys_{(self.number - 1) % 3}"


class Generations:
    """The generation that was present when this process last looked."""

    def __init__(self) -> None:
        self._known: Generation | None = None

    async def present(self, connection: Connection) -> Generation:
        """The generation that is known; it is read over this connection if none is."""
        if self._known is None:
            self._known = Generation(*await connection.fetchrow(READ))
        return self._known

    def forget(self) -> None:
        """Read it again before the next use: a statement has failed because it is no longer present."""
        self._known = None
