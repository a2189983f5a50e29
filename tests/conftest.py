"""What tests share: one real Postgres, a database of its own for each test that wants one, and running services."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings

from polka.local import postgres
from polka.local.demo import free_port
from polka.rules.keys import NewKey, Scope
from polka.store import api_keys, database, migrate, seed
from prometheus import Prometheus, running_prometheus
from services import KEY, Services, client, wait_for
from wire import Wire

settings.register_profile("polka", deadline=None)  # what an example takes is the machine's affair
settings.load_profile("polka")

BANKS = 20
LOAD = (
    *("--rate=100", "--max-workers=10", "--transactions=1000000", "--mix=post=85,get=5,patch=5,delete=5"),
    *("--currencies=USD,EUR,JPY", "--across=0.1", "--terms=4", "--progress=none"),
)
numbers = itertools.count(1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """Polka's own Postgres, in a folder that its user may enter."""
    with tempfile.TemporaryDirectory(prefix="polka-tests-") as name, asyncio.Runner() as runner:
        folder = Path(name)
        folder.chmod(0o755)
        server = postgres.Server(postgres.locate(), folder)
        server.stop_signal = signal.SIGQUIT  # "immediate": nothing of it is to be kept
        server.initialise()
        with (server.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("track_commit_timestamp = on\n")  # by it a test replays commits in their order
        runner.run(server.start())
        runner.run(make_template(server.url))
        yield server
        runner.run(server.stop())


def url_of(server: postgres.Server, database: str) -> str:
    return server.url.replace("/postgres?", f"/{database}?")


async def make_template(url: str) -> None:
    await execute(url, "CREATE DATABASE template_polka")
    template = url.replace("/postgres?", "/template_polka?")
    await migrate.migrate(template)
    await seed.seed(template, BANKS, 0)
    async with database.session(template) as connection:
        await api_keys.create(connection, KEY, NewKey("tests", scopes=tuple(Scope)))


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def new_database(server: postgres.Server, template: str = "template_polka") -> str:
    name = f"test_{next(numbers)}"
    asyncio.run(execute(server.url, f"CREATE DATABASE {name} TEMPLATE {template}"))
    return url_of(server, name)


@pytest.fixture(scope="session")
def make_database(server: postgres.Server) -> Callable[[], str]:
    """Makes migrated databases that tests of a file share."""
    return lambda: new_database(server)


@pytest.fixture
def copy_database(server: postgres.Server) -> Callable[[str], str]:
    """Copies a database that nobody uses at the moment, by its URL."""
    return lambda url: new_database(server, url.partition("?")[0].rpartition("/")[2])


@pytest.fixture
def empty_database_url(server: postgres.Server) -> str:
    """A database without a schema."""
    return new_database(server, "template0")


@pytest.fixture
def database_url(server: postgres.Server) -> str:
    """A migrated database with bank1 to bank20."""
    return new_database(server)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
def wire(database_url: str) -> Iterator[Wire]:
    """A wire to the test's database that can fail."""
    wire = Wire(database_url)
    yield wire
    wire.close()


@pytest.fixture
def services(database_url: str, tmp_path: Path) -> Iterator[Services]:
    """Services over a database of the test's own."""
    services = Services(database_url, tmp_path)
    try:
        yield services
    finally:
        services.stop()


class Running:
    """A whole Polka that tests share; each uses banks, accounts and keys of its own."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.database_url = services.database_url
        self.cache = services.cache()
        self.apis = [services.api(), services.api()]
        for service in (self.cache, *self.apis):
            service.ready()
        self.url, self.metrics_url = self.apis[0].url, self.apis[0].metrics_url


@pytest.fixture
def key() -> str:
    """A name of the test's own, for idempotency keys and the like."""
    return f"key-{next(numbers)}"


def run_polka(server: postgres.Server, folder: Path) -> Iterator[Running]:
    services = Services(new_database(server), folder)
    try:
        yield Running(services)
    finally:
        services.stop()


@pytest.fixture(scope="session")
def polka(server: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from run_polka(server, tmp_path_factory.mktemp("polka"))


@pytest.fixture(scope="module")
def own_polka(server: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of the file's own, where tests have to do with all banks: no other has agreed terms with one of them."""
    yield from run_polka(server, tmp_path_factory.mktemp("polka"))


@dataclass(frozen=True)
class Observed:
    """A Polka under load, the address of its spammer's metrics, and the Prometheus that scrapes all of it."""

    polka: Running
    spammer_url: str
    prometheus: Prometheus


@pytest.fixture(scope="module")
def observed(own_polka: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """A Polka of the file's own: payments of all kinds, a window that is settled, and one that is open."""
    port = free_port()
    command = [*(sys.executable, "-m", "polka", "spam"), f"--url={own_polka.url}", f"--metrics-port={port}", *LOAD]
    log = tmp_path_factory.mktemp("observed") / "spammer.log"
    with log.open("wb") as output:
        spammer = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "POLKA_KEY": KEY})
    spammer_url = f"http://127.0.0.1:{port}"
    urls = {
        "api": [api.metrics_url for api in own_polka.apis],
        "cache": [own_polka.cache.metrics_url],
        "spammer": [spammer_url],
    }
    try:
        with running_prometheus({f"polka-{service}": its for service, its in urls.items()}) as prometheus:
            wait_for("payments flow", lambda: prometheus.query("sum(rate(polka_posted_batches_total[1m])) > 0"))
            for step in ("", "/1/settle"):
                client.post(f"{own_polka.url}/clearing{step}", json={"window": 1}).raise_for_status()
            wait_for("the rules are evaluated", prometheus.has_evaluated)
            yield Observed(own_polka, spammer_url, prometheus)
            assert spammer.poll() is None, log.read_text()[-2000:]
    finally:
        spammer.kill()
        spammer.wait()


@pytest.fixture
def banks(polka: Running, key: str) -> tuple[str, str, str]:
    """Three banks of the test's own on the shared Polka."""
    names = (f"{key}-a", f"{key}-b", f"{key}-c")
    for name in names:
        assert client.post(f"{polka.url}/banks", json={"name": name}).status_code == 201
    return names
