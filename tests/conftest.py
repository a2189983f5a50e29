"""What tests share: one real Postgres, a database of its own for each test that wants one, and running services."""

import asyncio
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings

import nursery
from charged import charge
from converted import convert
from databases import make_template, new_database, numbers
from memory import data_folder, make_folder
from polka.local import demo, postgres
from running import SHARED, Running, SharedPolka, run_polka
from services import Services, client
from wire import Wire

settings.register_profile("polka", deadline=None)  # what an example takes is the machine's affair
settings.load_profile("polka")

ROOT = Path(__file__).parents[1]
WAL_SIZE_MAX = "512MB"

LONGEST = (
    "documents/test_pages.py",
    "spammer/test_spammer.py",
    "local/test_whole.py",
    "system/test_standby.py",
    "system/test_crash.py",
    "cache/test_cache.py",
    "system/test_cap_storm.py",
    "audit/test_auditing.py",
    "api/test_openapi.py",
    "chart/test_upgrades.py",
    "cache/test_clearing.py",
    "local/test_drills.py",
    "api/test_key_lifetime.py",
    "api/test_across.py",
    "cache/test_refresh.py",
    "system/test_capped_load.py",
    "spammer/test_spammer_ends.py",
    "spammer/test_spammer_page.py",
    "spammer/test_spammer_web.py",
    "local/test_commands.py",
    "cache/test_schedule.py",
    "local/test_demo.py",
    "cache/test_starts.py",
    "console/test_console_drills.py",
    "local/test_working_directory.py",
    "cache/test_accounts.py",
    "api/test_search_reads.py",
    "local/test_everyday.py",
    "local/test_presence.py",
    "system/test_bench.py",
)
"""Files that take long, the longest first. If one of them began late, all other workers would wait for it."""

WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS_EACH = len(demo.PORTS) // WORKERS
demo.candidates = demo.in_turn(demo.PORTS[WORKER * PORTS_EACH : (WORKER + 1) * PORTS_EACH])
"""Of its own, so that no other worker takes a port between the choice and the start."""


FOLDER = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep all temporary files in memory, and open the nurseries. The workers and all programs inherit the places.

    Raises:
        UsageError: a name in LONGEST is stale.
    """
    if gone := [name for name in LONGEST if not any((ROOT / room / name).is_file() for room in ("tests", "k8s-tests"))]:
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names files that are gone: {', '.join(gone)}")
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    if folder := make_folder():
        config.stash[FOLDER] = folder
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        config.option.basetemp = config.option.basetemp or str(folder / "t")
    if config.getoption("numprocesses", None):
        os.environ[nursery.FOLDER] = nursery.open_nurseries()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The files of failed tests stay until the next run."""
    if exitstatus and FOLDER in session.config.stash:
        del session.config.stash[FOLDER]


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, begin with the longest files. Files with the shared Polka follow each other, so that it
    starts rarely."""
    if WORKERS == 1:
        return
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)

    def turn(path: Path) -> tuple[int, bool, int]:
        name = "/".join(path.parts[-2:])
        rank = LONGEST.index(name) if name in LONGEST else len(LONGEST)
        return rank, not uses_shared_polka(files[path]), -len(files[path])

    items[:] = [item for path in sorted(files, key=turn) for item in files[path]]


def pytest_collection_finish() -> None:
    """No test looks for garbage among 300,000 objects of modules and of other tests."""
    gc.freeze()


def uses_shared_polka(items: list[pytest.Item]) -> bool:
    return any("shared_polka" in getattr(item, "fixturenames", ()) for item in items)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """Polka's own Postgres, in a folder that its user may enter."""
    with data_folder() as folder, asyncio.Runner() as runner:
        server = postgres.Server(postgres.locate(), folder)
        server.stop_signal = signal.SIGQUIT  # "immediate": nothing of it is to be kept
        server.command = [*server.command, f"-cmax_wal_size={WAL_SIZE_MAX}"]
        server.initialise()
        with (server.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("track_commit_timestamp = on\n")  # by it a test replays commits in their order
            settings.write("autovacuum = off\n")  # it looks into each database once a minute, and there are hundreds
        runner.run(server.start())
        runner.run(make_template(server.url))
        yield server
        runner.run(server.stop())


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
        services.end()


@pytest.fixture
def key() -> str:
    """A name of the test's own, for idempotency keys and the like."""
    return f"key-{next(numbers)}"


@pytest.fixture(scope="session")
def shared_polka(server: postgres.Server) -> Iterator[SharedPolka]:
    yield SHARED
    SHARED.end()


@pytest.fixture(scope="module")
def polka(shared_polka: SharedPolka, server: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Running:
    return shared_polka.running(server, tmp_path_factory.mktemp("polka"))


@pytest.fixture(scope="module", autouse=True)
def _no_polka_is_idle(request: pytest.FixtureRequest) -> None:
    """The shared Polka ends before a file that does not use it."""
    of_file = [item for item in request.session.items if item.path == request.node.path]
    if not uses_shared_polka(of_file):
        SHARED.end()


@pytest.fixture(scope="module")
def own_polka(server: postgres.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of the file's own, where tests have to do with all banks: no other has agreed terms with one of them."""
    with run_polka(server, tmp_path_factory.mktemp("polka")) as running:
        yield running


@pytest.fixture(scope="module")
def converted(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with one payment across currencies, amended once; all is posted, and nobody uses it."""
    return convert(Services(make_database(), tmp_path_factory.mktemp("converted")))


@pytest.fixture(scope="module")
def charged(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with a payment that cost something, amended once; all is posted, and nobody uses it."""
    return charge(Services(make_database(), tmp_path_factory.mktemp("charged")))


@pytest.fixture
def banks(polka: Running, key: str) -> tuple[str, str, str]:
    """Three banks of the test's own on the shared Polka."""
    names = (f"{key}-a", f"{key}-b", f"{key}-c")
    for name in names:
        assert client.post(f"{polka.url}/banks", json={"name": name}).status_code == 201
    return names
