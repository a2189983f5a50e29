"""A Postgres primary and its synchronous standby, for tests with lost connections, crashes and a lost primary."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from polka.local import postgres
from polka.rules.keys import NewKey, Scope
from polka.rules.policy import NOTHING_AGREED, Terms
from polka.store import api_keys, bank_terms, database, migrate, seed
from services import KEY, wait_for
from wire import Wire

SETTINGS = """
shared_buffers = 32MB
max_wal_size = 256MB
wal_retrieve_retry_interval = 100ms
"""
CAPPED, CAP = "bank3", 1_000
SUSPENDED = "bank4"


class Node(postgres.Server):
    """A primary or a standby."""

    def __init__(self, folder: Path) -> None:
        super().__init__(postgres.locate(), folder)
        self.command = [word for word in self.command if "shared_buffers" not in word]
        self.stop_signal = signal.SIGQUIT  # "immediate": a lost node writes nothing more

    async def answers(self) -> bool:
        try:
            await (await asyncpg.connect(self.url)).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def configure(self, settings: str) -> None:
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.write(f"{settings}\n")

    def pids(self) -> list[int]:
        """The server's processes."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(self.pid or 0), *map(int, children)]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        frozen = self.pids()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)


def make_template(folder: Path, runner: asyncio.Runner) -> Path:
    """The data of a stopped server with banks: one bank has a cap, and another may not send."""
    folder.mkdir()
    node = Node(folder)
    node.stop_signal = signal.SIGINT
    node.initialise()
    node.configure(SETTINGS)
    runner.run(node.start())
    runner.run(fill(node.url))
    runner.run(node.stop())
    return node.data


async def fill(url: str) -> None:
    await migrate.migrate(url)
    await seed.seed(url, 5, 0)
    async with database.session(url) as connection:
        await api_keys.create(connection, KEY, NewKey("tests", scopes=tuple(Scope)))
        for bank, terms in {CAPPED: Terms({"USD": CAP}), SUSPENDED: Terms(suspended="sending")}.items():
            await bank_terms.change(connection, bank, NOTHING_AGREED, terms, "tests")


class Pair:
    """A primary and its synchronous standby. `url` lists both, and `wire` connects them."""

    def __init__(self, template: Path, folder: Path, runner: asyncio.Runner) -> None:
        self._runner = runner
        folder.chmod(0o755)
        self.primary, self.standby = (self._make(template, folder / name) for name in ("first", "second"))
        self.wire = Wire(self.primary.url)
        port = self.wire.url.partition("?")[0].rpartition(":")[2].partition("/")[0]
        self.primary.configure("synchronous_standby_names = '*'")
        self.standby.configure(f"primary_conninfo = 'host=127.0.0.1 port={port} user=postgres sslmode=disable'")
        (self.standby.data / "standby.signal").touch()
        self.url = f"postgresql://postgres@/postgres?host={self.primary.socket_folder},{self.standby.socket_folder}"
        for node in (self.primary, self.standby):
            runner.run(node.start())
        wait_for(
            "the standby follows",
            lambda: self.ask("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"),
        )

    def _make(self, template: Path, folder: Path) -> Node:
        folder.mkdir(parents=True)
        node = Node(folder)
        subprocess.run(["cp", "-a", str(template), str(node.data)], check=True)
        node.initialise()
        node.access.write_text("local all all trust\nlocal replication all trust\n")
        return node

    def ask(self, query: str, *values: Any, node: Node | None = None) -> Any:
        """A value from the primary, or another node; None while the node is down."""
        return self._runner.run(ask((node or self.primary).url, query, *values))

    def waiting(self, query: str = "") -> list[int]:
        """The primary's processes with a query that matches the pattern and waits for the standby."""
        found = self.ask(
            "SELECT array_agg(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query ~ $1", query
        )
        return found or []

    def cut_off(self) -> None:
        """Cut the standby off."""
        self.wire.refuse()
        self.wire.cut()

    def fail_over(self) -> None:
        """Lose the primary, and promote the standby."""
        self.lose_primary()
        assert self.ask("SELECT pg_promote()", node=self.standby)

    def lose_primary(self) -> None:
        self._runner.run(self.primary.stop())

    def stop(self) -> None:
        self.wire.close()
        for node in (self.primary, self.standby):
            self._runner.run(node.stop())


async def ask(url: str, query: str, *values: Any) -> Any:
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError):
        return None
    try:
        return await connection.fetchval(query, *values)
    except (asyncpg.ConnectionDoesNotExistError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError):
        return None
    finally:
        await connection.close()
