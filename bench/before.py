"""The rate of `POST /transaction` against an earlier revision of Polka: the cost of all later features."""

import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from uuid_utils import uuid7

from bench.load import Client, World
from bench.machine import ROOT, git
from bench.report import Bound, Figure, Findings, Target
from bench.rounds import alternate, ratios
from bench.stand import database_server, execute, own_folder, prove
from polka.local.demo import free_layout
from polka.local.processes import Process
from polka.local.up import Held, Running, Say, answers, services
from polka.rules import keys
from polka.rules.keys import Scope
from polka.service.failure import Failure
from polka.store import api_keys, database, seed

TITLE = "`POST /transaction` against the revision before clearing windows"
TARGET = Target(Bound.AT_LEAST, 0.98)
REVISION = "61b40c04d90b1009005d3ddd3475bdf338bb4c3f"
"""The last revision without clearing windows, currencies, caps and fees."""
WORLD = World()
CONNECTIONS = 64
INSERT_KEY = "INSERT INTO api_keys (id, hash, name, scopes) VALUES ($1, $2, 'bench', $3)"


async def measure(quick: bool, say: Say, revision: str = REVISION) -> Findings | None:
    rounds, seconds = (2, 1) if quick else (15, 4)
    if not has(revision):
        say(f"Skipped: this checkout does not have {revision}. `git fetch --unshallow` brings all revisions.")
        return None
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(database_server())
        sources = {"now": ROOT, "before": stack.enter_context(checked_out(revision))}
        running = {
            name: await stack.enter_async_context(polka_of(source, await empty_database(server, name), say))
            for name, source in sources.items()
        }
        now, before = [Client(one.layout.url, WORLD, await old_key(one)) for one in running.values()]
        for client in (now, before):
            await client.rate(CONNECTIONS, 2)  # warms up
        say(f"{rounds} rounds with {CONNECTIONS} connections …")
        sides = [partial(client.rate, CONNECTIONS, seconds) for client in (now, before)]
        rates, base = await alternate(rounds, *sides)
        proof = await prove("the payments of now", running["now"], now.answered)
    figures = [
        Figure("now", rates, "/s"),
        Figure(f"at {revision[:12]}", base, "/s"),
        Figure("ratio", ratios(rates, base), target=TARGET),
    ]
    conditions = (
        "Two databases of one Postgres, each with an api and a cache, which run all the time: those of this revision, "
        f"and those of {revision[:12]}, by its own source and the same installed packages. Payments between {WORLD}, "
        f"on {CONNECTIONS} connections, each with an Idempotency-Key of its own; nobody has a cap. {rounds} rounds of "
        f"{seconds} s a side."
    )
    return Findings(conditions, figures, [proof])


async def old_key(running: Running) -> str:
    """A key for the load, with only the columns of every revision."""
    key = api_keys.new_key()
    async with database.session(running.database_url) as connection:
        await connection.execute(INSERT_KEY, uuid7(), keys.hash_of(key.encode()), [Scope.TRANSACTIONS_WRITE.value])
    return key


def has(revision: str) -> bool:
    return git("cat-file", "-t", revision) == "commit"


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The revision's files, in a temporary folder."""
    with own_folder() as folder:
        source = folder / "polka"
        source.mkdir()
        archive = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        subprocess.run(["tar", "-x"], cwd=source, check=True, input=archive)
        yield source


async def empty_database(server_url: str, name: str) -> str:
    await execute(server_url, f"CREATE DATABASE {name}")
    return server_url.replace("/postgres?", f"/{name}?")


@asynccontextmanager
async def polka_of(source: Path, database_url: str, say: Say, module: str = "polka") -> AsyncIterator[Running]:
    """An api and the cache from this source over an empty database. Python runs `module`.

    Raises:
        Failure: a part does not start, or ended early.
    """
    environ = {"PYTHONPATH": f"{source / 'src'}{os.pathsep}{ROOT}"}
    migrated = subprocess.run(
        [sys.executable, "-m", "polka", "migrate"],
        env=os.environ | environ | {"POLKA_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    if migrated.returncode:
        raise Failure(f"The migrations in {source} fail: {migrated.stderr}")
    await seed.seed(database_url, WORLD.banks, WORLD.accounts)
    layout = free_layout(1, source, database_url)
    with Held.bound(layout) as held:
        running = Running(layout, held, database_url, secrets.token_hex())
        running.processes += services(running)
    try:
        for process in running.processes:
            process.environ = {**process.environ, **environ}
            unhand(process, source)
            process.command = [module if word == "polka" else word for word in process.command]
            await process.start()
        yield running
        if not all(process.pid for process in running.processes):
            raise Failure("A process ended during the measurement.")
    finally:
        for process in reversed(running.processes):
            await process.stop()


def unhand(process: Process, source: Path) -> None:
    """Let the process bind its ports itself, because the source may not know handed-on sockets."""
    own = urlsplit(process.address).port
    words = [f"--port={own}" if word.startswith("--socket=") else word for word in process.command]
    process.command = [word for word in words if not word.startswith("--metrics-socket=")]
    process.environ = {**process.environ, "POLKA_METRICS_PORT": str(urlsplit(process.monitored_at or "").port)}
    process.sockets = ()
    if not list((source / "src/polka").rglob("monitoring.py")):  # there health is on the port of clients
        process.command = [word for word in process.command if word != "--shared"]
        process.is_ready = partial(answers, f"{process.address}/health/ready")
