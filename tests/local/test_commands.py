"""The command line as a new user types it: one clear line for what goes wrong, and what the audit says."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from commands import one_line, polka
from committed import commit, transfer
from databases import execute
from falsehoods import IN_ONE_PAYMENT
from polka.local.demo import free_port
from polka.local.postgres import Server
from polka.store.migrations import REVISION
from services import KEY, Services, client, payment, wait_for


def test_a_wrong_flag() -> None:
    assert "--prot" in one_line(polka("up", "--prot", "8000"))
    assert "port" in one_line(polka("up", "--port", "many"))
    assert "exit" not in one_line(polka("nothing")).lower()


@pytest.mark.parametrize("name", ["api", "cache"])
def test_no_database_is_named(name: str) -> None:
    assert one_line(polka(name, f"--port={free_port()}")) == "POLKA_DATABASE_URL is not set."


@pytest.mark.parametrize("name", ["api", "cache"])
def test_no_token_of_the_cache_is_set(name: str) -> None:
    environ = {"POLKA_DATABASE_URL": "postgresql://x"}
    said = one_line(polka(name, f"--port={free_port()}", POLKA_CACHE_TOKEN="too short", **environ))
    assert said.startswith("POLKA_CACHE_TOKEN: ")
    assert "too short" not in said
    assert one_line(polka(name, f"--port={free_port()}", POLKA_CACHE_TOKEN=None, **environ)) == (
        "POLKA_CACHE_TOKEN is not set."
    )


@pytest.mark.parametrize("name", ["api", "cache", "migrate", "audit", "seed"])
def test_a_database_that_does_not_answer(name: str) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    port = [f"--port={free_port()}"] if name in ("api", "cache") else []
    assert one_line(polka(name, *port, POLKA_DATABASE_URL=url)).startswith("The database does not answer:")


def test_a_database_without_the_schema(empty_database_url: str) -> None:
    said = one_line(polka("api", f"--port={free_port()}", POLKA_DATABASE_URL=empty_database_url))
    assert said == f"The database has schema revision none, this Polka needs {REVISION}: run `polka migrate`."


@pytest.mark.parametrize(
    ("variable", "value", "fact"),
    [
        ("POLKA_BATCH_SIZE_MAX", "many", "expected `int`"),
        ("POLKA_BATCH_SIZE_MAX", "0", ">= 1"),
        ("POLKA_REQUEST_TIMEOUT_SECONDS", "-1", ">= 0.001"),
        ("POLKA_ALLOW_LOSSY_DATABASE", "perhaps", "expected `bool`"),
    ],
)
def test_a_wrong_setting(variable: str, value: str, fact: str) -> None:
    environ = {"POLKA_DATABASE_URL": "postgresql://x", variable: value}
    said = one_line(polka("api", f"--port={free_port()}", **environ))
    assert said.startswith(f"{variable}: ")
    assert fact in said


@pytest.mark.parametrize("name", ["api", "cache", "up"])
def test_a_port_in_use(name: str, tmp_path: Path, database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        data = [f"--data={tmp_path}", f"--cache-port={free_port()}"] if name == "up" else []
        said = one_line(polka(name, f"--port={port}", *data, POLKA_DATABASE_URL=database_url))
    assert said == f"Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another port with --port."


def test_a_database_that_could_lose_a_commit_is_refused(database_url: str) -> None:
    name = database_url.partition("?")[0].rpartition("/")[2]
    asyncio.run(execute(database_url, f"ALTER DATABASE {name} SET synchronous_commit = off"))
    for words in (["api", f"--port={free_port()}"], ["cache", f"--port={free_port()}"], ["migrate"]):
        said = one_line(polka(*words, POLKA_DATABASE_URL=database_url))
        assert said.startswith("The database has synchronous_commit off:")
    done = polka("migrate", POLKA_DATABASE_URL=database_url, POLKA_ALLOW_LOSSY_DATABASE="true")
    assert done.returncode == 0, done.stderr


PASSWORD = "p@ss:/w%rd"


@pytest.fixture
def guarded_url(server: Server, empty_database_url: str) -> str:
    """A database without a schema, for whose owner Postgres wants the password; it is not in the url."""
    name = empty_database_url.partition("?")[0].rpartition("/")[2]
    owner = f"{name}_owner"
    rules = server.access
    rules.write_text(f"local all {owner} scram-sha-256\n{rules.read_text()}")
    for statement in (
        f"CREATE ROLE {owner} LOGIN PASSWORD '{PASSWORD}'",
        f"ALTER DATABASE {name} OWNER TO {owner}",
        "SELECT pg_reload_conf()",
    ):
        asyncio.run(execute(server.url, statement))
    return empty_database_url.replace("//postgres@", f"//{owner}@")


def test_a_password_of_any_characters_comes_from_its_own_variable(guarded_url: str, tmp_path: Path) -> None:
    database = {"POLKA_DATABASE_URL": guarded_url, "PGPASSWORD": PASSWORD}
    wrong = {"POLKA_DATABASE_URL": guarded_url, "PGPASSWORD": "p@ss"}
    refusal = "The database does not answer: password authentication failed"
    wait_for("Postgres wants the password", lambda: refusal in polka("wait", "--timeout=0s", **wrong).stderr)
    assert one_line(polka("migrate", **wrong)).startswith(refusal)
    assert one_line(polka("api", f"--port={free_port()}", **wrong)).startswith(refusal)
    done = polka("migrate", **database)
    assert done.returncode == 0, done.stderr
    for words in (["wait", "--timeout=0s"], ["seed"], ["keys", "create", "--name=x", "--scope=transactions:write"]):
        assert polka(*words, POLKA_NEW_KEY=KEY, **database).returncode == 0
    services = Services(guarded_url, tmp_path)
    try:
        services.cache(PGPASSWORD=PASSWORD).ready()
        api = services.api(PGPASSWORD=PASSWORD).ready()
        assert client.post(f"{api.url}/transaction", json=payment()).status_code == 201
        done = polka("audit", POLKA_CACHE_URL=services.cache_url, **database)
        assert done.returncode == 0, done.stdout
    finally:
        services.stop()


@pytest.fixture(scope="module")
def paid(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with one payment, whose audit is clean; all is posted, and nobody uses it."""
    services = Services(make_database(), tmp_path_factory.mktemp("paid"))

    async def prepare() -> None:
        connection = await asyncpg.connect(services.database_url)
        await commit(connection, transfer(100))
        await connection.close()

    asyncio.run(prepare())
    try:
        cache = services.cache().ready()
        assert polka("audit", POLKA_DATABASE_URL=services.database_url, POLKA_CACHE_URL=cache.url).returncode == 0
    finally:
        services.stop()
    return services.database_url


def test_a_cache_that_does_not_answer_is_shown_in_words(paid: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = polka("audit", POLKA_DATABASE_URL=paid, POLKA_CACHE_URL=url)
    assert done.returncode == 1
    assert f"{url} does not answer: All connection attempts failed: 0 instead of 1 (-1)" in done.stdout


@pytest.mark.parametrize(("statement", "said"), IN_ONE_PAYMENT.values(), ids=IN_ONE_PAYMENT.keys())
def test_the_audit_finds_each_falsehood_and_says_by_how_much(
    paid: str, copy_database: Callable[[str], str], statement: str, said: str
) -> None:
    database_url = copy_database(paid)
    asyncio.run(execute(database_url, statement))
    done = polka("audit", POLKA_DATABASE_URL=database_url)
    assert done.returncode == 1
    assert said in re.sub(r"\s+", " ", done.stdout)
    assert "The audit has failed." in done.stdout


def test_the_audit_asks_the_cache_too(services: Services) -> None:
    cache = services.cache(POLKA_FLUSH_SECONDS="3600").ready()
    insert = "INSERT INTO balances VALUES ('bank1', 'USD', 5), ('bank2', 'USD', -5)"
    asyncio.run(execute(services.database_url, insert))
    done = polka("audit", POLKA_DATABASE_URL=services.database_url, POLKA_CACHE_URL=cache.url)
    assert done.returncode == 1
    assert "bank1 USD: 0.00 instead of 0.05 (-0.05)" in done.stdout
    cache.kill()
    done = polka("audit", POLKA_DATABASE_URL=services.database_url, POLKA_CACHE_URL=cache.url)
    assert done.returncode == 1
    assert "does not answer" in done.stdout


def test_spam_with_a_key_that_is_none_says_so(services: Services) -> None:
    api = services.api().ready()
    for key in ([], ["--key=polka_wrong"]):
        done = polka("spam", f"--url={api.url}", "--transactions=5", *key)
        assert done.returncode == 1
        assert "POLKA_KEY" in done.stderr
    done = polka("spam", f"--url={api.url}", "--transactions=5", POLKA_KEY=KEY)
    assert "5 of 5 payments" in done.stderr
    assert KEY not in done.stderr + done.stdout
