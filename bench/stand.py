"""The subject of a measurement, in its own folder: a whole Polka, or a Postgres; and the audit as the proof."""

import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from polka.audit import snapshot
from polka.local import postgres
from polka.local.demo import free_layout, posted
from polka.local.up import Running, Say, up
from polka.rules.keys import NewKey
from polka.service.failure import Failure
from polka.store import api_keys, database, migrate


class Proof(msgspec.Struct, frozen=True):
    """The result of the audit after the load."""

    subject: str
    counts: dict[str, int]
    failed: list[str]

    def __str__(self) -> str:
        counts = f"{self.counts['transactions']:,} transactions, {self.counts['accounts']:,} accounts"
        verdict = f"**failed** ({'; '.join(self.failed)})" if self.failed else "clean"
        return f"Audit of {self.subject}: {verdict} ({counts})."


@asynccontextmanager
async def polka(say: Say, database_url: str | None = None, apis: int = 1) -> AsyncIterator[Running]:
    """Apis on one port, the cache, and their own Postgres unless a database is given.

    Raises:
        Failure: a part does not start, or ended early, so the measurement is void.
    """
    with own_folder() as folder:
        async with up(free_layout(apis, folder, database_url), say) as running:
            started = [process.pid for process in running.processes]
            yield running
            if started != [process.pid for process in running.processes]:
                raise Failure("A process ended during the measurement.")


@asynccontextmanager
async def database_server() -> AsyncIterator[str]:
    """The URL of a Postgres alone.

    Raises:
        Failure: no Postgres is installed, or it does not start.
    """
    with own_folder() as folder:
        server = postgres.Server(postgres.locate(), folder)
        server.initialise()
        try:
            await server.start()
            yield server.url
        finally:
            await server.stop()


async def new_database(server_url: str, name: str) -> str:
    """The URL of a database with Polka's schema."""
    await execute(server_url, f"CREATE DATABASE {name}")
    url = server_url.replace("/postgres?", f"/{name}?")
    await migrate.migrate(url)
    return url


@asynccontextmanager
async def copied_database(server_url: str, template: str) -> AsyncIterator[str]:
    """The URL of a copy of an unused database, during the block."""
    name = f"copy_of_{template}"
    await execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server_url.replace("/postgres?", f"/{name}?")
    finally:
        await execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def execute(database_url: str, statement: str) -> None:
    connection = await database.reach(database_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def own_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="polka-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres may run as another user
        yield folder


async def new_key(running: Running) -> str:
    """An operator's key for the load."""
    async with database.session(running.database_url) as connection:
        return await api_keys.create_operators(connection, "bench")


async def bank_key(running: Running, bank: str) -> str:
    """A key for this bank alone."""
    key = api_keys.new_key()
    async with database.session(running.database_url) as connection:
        await api_keys.create(connection, key, NewKey("bench", bank))
    return key


async def prove(subject: str, running: Running, answered: int = 0, stored_before: int = 0) -> Proof:
    """Audit the database and the cache, and check that all answered payments are stored."""
    await posted(running.database_url)
    done = await snapshot.audit(running.database_url, running.cache_url, running.cache_token)
    failed = [check for check, differences in done.differences.items() if differences]
    stored = done.counts["transactions"] - stored_before
    if answered > stored:
        failed.append(f"{answered:,} payments were answered, {stored:,} are stored")
    return Proof(subject, done.counts, failed)


def together(subject: str, proofs: Sequence[Proof]) -> Proof:
    """One proof for all, with the counts of the last."""
    return Proof(subject, proofs[-1].counts, [check for proof in proofs for check in proof.failed])
