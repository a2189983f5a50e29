"""What is measured: a whole Polka with one api, in a folder of its own, and the audit that proves what it did."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from bench.load import Client
from polka import audit
from polka.demo import free_layout, posted
from polka.failure import Failure
from polka.processes import Process
from polka.up import Running, Say, up


class Proof(msgspec.Struct, frozen=True):
    """What the audit said of a database after its load."""

    subject: str
    counts: dict[str, int]
    failed: list[str]

    def __str__(self) -> str:
        counts = f"{self.counts['transactions']:,} transactions, {self.counts['accounts']:,} accounts"
        verdict = f"**failed** ({'; '.join(self.failed)})" if self.failed else "clean"
        return f"Audit of {self.subject}: {verdict} ({counts})."


@asynccontextmanager
async def polka(say: Say, database_url: str | None = None) -> AsyncIterator[Running]:
    """One api, the cache, and unless a database is given a Postgres of their own.

    Raises:
        Failure: something does not start, or did not live to the end: what was measured then is worth nothing.
    """
    with tempfile.TemporaryDirectory(prefix="polka-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        async with up(free_layout(1, folder, database_url), say) as running:
            started = [process.pid for process in running.processes]
            yield running
            if started != [process.pid for process in running.processes]:
                raise Failure("A process ended during the measurement.")


def process_of(running: Running, name: str) -> Process:
    return next(process for process in running.processes if process.name == name)


async def prove(subject: str, running: Running, client: Client | None = None, stored_before: int = 0) -> Proof:
    """Audit the database and the cache, and see that all that the client was answered is stored."""
    await posted(running.database_url)
    done = await audit.audit(running.database_url, running.layout.cache_url)
    failed = [check for check, differences in done.differences.items() if differences]
    if client and client.answered > done.counts["transactions"] - stored_before:
        failed.append(f"{client.answered:,} payments were answered")
    return Proof(subject, done.counts, failed)
