"""The command line as a new user types it: what starts, what restarts, and one clear line for what goes wrong."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from commands import POLKA, Up, environment, one_line, polka, started, up
from committed import commit, transfer
from databases import execute
from falsehoods import IN_ONE_PAYMENT
from locks import until_waiting
from polka.local.demo import free_port
from polka.local.postgres import Server
from polka.store.migrations import REVISION
from services import KEY, Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Wire


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


def test_migrate_seed_and_audit(empty_database_url: str) -> None:
    for _ in range(2):
        assert polka("migrate", POLKA_DATABASE_URL=empty_database_url).returncode == 0
        done = polka("seed", "--banks=3", "--accounts=10", POLKA_DATABASE_URL=empty_database_url)
        assert "3 banks and 10 accounts" in done.stdout
    done = polka("audit", POLKA_DATABASE_URL=empty_database_url)
    assert done.returncode == 0, done.stdout
    assert "0 transactions, 3 banks, 10 accounts" in done.stdout
    assert "The audit is clean." in done.stdout


def test_two_migrations_at_once_do_not_kill_each_other(empty_database_url: str) -> None:
    """Both are held back until both are there."""

    async def race() -> list[subprocess.CompletedProcess[str]]:
        connection = await asyncpg.connect(empty_database_url)
        await connection.execute("BEGIN; CREATE TABLE alembic_version (held text)")
        racing = [asyncio.to_thread(polka, "migrate", POLKA_DATABASE_URL=empty_database_url) for _ in range(2)]
        finish = asyncio.gather(*racing)
        try:
            await until_waiting(empty_database_url, 2)
        finally:
            await connection.close()
        return await finish

    for done in asyncio.run(race()):
        assert done.returncode == 0, done.stderr


def test_wait_ends_once_the_database_answers_and_has_the_schema(empty_database_url: str, tmp_path: Path) -> None:
    wire, log = Wire(empty_database_url), tmp_path / "log"
    wire.refuse()
    with contextlib.closing(wire), started(log, "wait", POLKA_DATABASE_URL=wire.url) as waiting:
        wait_for("it waits for an answer", lambda: "Waiting: The database does not answer: " in log.read_text())
        wire.accept()
        wait_for("it waits for the schema", lambda: "Waiting: The database has schema revision none" in log.read_text())
        assert waiting.poll() is None
        assert polka("migrate", POLKA_DATABASE_URL=empty_database_url).returncode == 0
        assert waiting.wait(WAIT_SECONDS) == 0
    assert log.read_text().splitlines()[-1] == f"The database answers, at schema revision {REVISION}."


def test_migrate_waits_for_the_database_as_long_as_it_is_told(empty_database_url: str, tmp_path: Path) -> None:
    wire, log = Wire(empty_database_url), tmp_path / "log"
    wire.refuse()
    with contextlib.closing(wire), started(log, "migrate", "--timeout=5m", POLKA_DATABASE_URL=wire.url) as migrating:
        wait_for("it waits for an answer", lambda: "Waiting: The database does not answer: " in log.read_text())
        wire.accept()
        assert migrating.wait(WAIT_SECONDS) == 0
    assert log.read_text().splitlines()[-1] == f"The schema is at revision {REVISION}."


def test_what_waits_gives_up_in_time_and_at_once_where_waiting_helps_nothing(empty_database_url: str) -> None:
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    for name in ("wait", "migrate"):
        said = one_line(polka(name, "--timeout=600ms", POLKA_DATABASE_URL=away))
        assert said.startswith("The database does not answer:")
        assert one_line(polka(name, POLKA_DATABASE_URL="mysql://x")).startswith("The database URL is not valid:")
        assert one_line(polka(name, "--timeout=5")).endswith("'5' is no duration such as 30s, 5m or 1m30s.")
    said = one_line(polka("wait", "--timeout=0s", POLKA_DATABASE_URL=empty_database_url))
    assert said == f"The database has schema revision none, this Polka needs {REVISION}: run `polka migrate`."


A_LATER_POLKA = """
ALTER TABLE transactions ADD COLUMN later text NOT NULL DEFAULT '';
ALTER TABLE batches ADD COLUMN later text NOT NULL DEFAULT '';
ALTER TABLE accounts ADD COLUMN later text NOT NULL DEFAULT '';
ALTER TABLE balances ADD COLUMN later text NOT NULL DEFAULT '';
ALTER TABLE banks ADD COLUMN later text NOT NULL DEFAULT '';
UPDATE alembic_version SET version_num = '9999'
"""
"""What its migration did, which only expands."""


def test_every_command_and_service_works_on_the_schema_of_a_later_polka(services: Services) -> None:
    url = services.database_url
    asyncio.run(execute(url, A_LATER_POLKA))
    done = polka("migrate", POLKA_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (
        0,
        f"The schema is at revision 9999, later than this Polka's {REVISION}: nothing to do.\n",
    )
    done = polka("wait", "--timeout=0s", POLKA_DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (0, "The database answers, at schema revision 9999.\n")
    services.cache().ready()
    api = services.api().ready()
    paid = client.post(f"{api.url}/transaction", json=payment()).raise_for_status().json()
    wait_for("it is posted", lambda: client.get(f"{api.url}/transaction/{paid['id']}").json()["posted_at"])
    assert client.delete(f"{api.url}/transaction/{paid['id']}").is_success
    assert client.post(f"{api.url}/transactions", json=[payment()] * 2).is_success
    assert client.post(f"{api.url}/banks", json={"name": "new"}).is_success
    assert polka("seed", POLKA_DATABASE_URL=url).returncode == 0
    done = polka("audit", POLKA_DATABASE_URL=url, POLKA_CACHE_URL=services.cache_url)
    assert done.returncode == 0, done.stdout


def test_a_migration_that_waited_for_that_of_a_later_polka_does_nothing(empty_database_url: str) -> None:
    async def overtake() -> subprocess.CompletedProcess[str]:
        connection = await asyncpg.connect(empty_database_url)
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", int.from_bytes(b"polka"))
            migrating = asyncio.create_task(asyncio.to_thread(polka, "migrate", POLKA_DATABASE_URL=empty_database_url))
            await until_waiting(empty_database_url)
            await connection.execute("CREATE TABLE alembic_version (version_num) AS VALUES ('9999')")
        await connection.close()
        return await migrating

    done = asyncio.run(overtake())
    assert (done.returncode, done.stderr) == (0, "")
    assert "revision 9999" in done.stdout


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


UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]
needs_a_namespace = pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="only root may make a process the first of a namespace, as in a container",
)


@contextmanager
def first_of_a_namespace(log: Path, *words: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command as it runs in a container: the kernel keeps each signal from it that it does not listen to."""
    with log.open("wb") as output:
        command = [*UNSHARE, *POLKA, *words]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment(**environ))
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def stop_first(process: subprocess.Popen[bytes]) -> int:
    """Its exit code, after it was told to stop."""
    (first,) = psutil.Process(process.pid).children()
    first.terminate()
    return process.wait(WAIT_SECONDS)


@needs_a_namespace
@pytest.mark.parametrize("name", ["api", "cache", "wait", "migrate", "audit", "seed"])
def test_the_first_process_of_a_container_stops_while_it_still_connects(name: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as database:
        database.settimeout(WAIT_SECONDS)
        words = [name, *([f"--port={free_port()}"] if name in ("api", "cache") else [])]
        url = f"postgresql://nobody@127.0.0.1:{database.getsockname()[1]}/none"
        with first_of_a_namespace(tmp_path / "log", *words, POLKA_DATABASE_URL=url) as process:
            connection, _ = database.accept()
            with connection:  # nobody ever answers; a command that waits for it says so, and ends with 1
                assert stop_first(process) == (143 if name in ("api", "cache") else 130)
    assert "Traceback" not in (tmp_path / "log").read_text()


@needs_a_namespace
def test_the_spammer_as_the_first_process_of_a_container_stops_while_it_waits(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with first_of_a_namespace(log, "spam", f"--url=http://127.0.0.1:{free_port()}", "--wait=5m") as process:
        wait_for("it waits", lambda: "Waiting for " in log.read_text())
        assert stop_first(process) == 1
    assert "Traceback" not in log.read_text()


def test_up_restarts_what_dies_and_ctrl_c_stops_all(tmp_path: Path) -> None:
    with up(tmp_path, is_executed=True) as running:
        said = running.said()
        assert "PostgreSQL 1" in said
        for name in ("postgres", "cache", "api-1", "api-2"):
            assert running.pid(name)
        key = running.key()
        assert client.post(f"{running.url}/banks", json={"name": "one"}, headers=key).status_code == 201
        assert client.post(f"{running.url}/banks", json={"name": "two"}, headers=key).status_code == 201
        body = payment(sender="one", receiver="two")
        assert client.post(f"{running.url}/transaction", json=body, headers=key).status_code == 201
        for name in ("api-1", "cache", "postgres"):
            os.kill(running.pid(name), signal.SIGKILL)
            wait_for(f"{name} runs again", partial(running.says, f"{name} runs again"))
            wait_for(
                "payments go on",
                lambda: client.post(f"{running.url}/transaction", json=body, headers=key).status_code == 201,
            )
        pids = [running.pid(name) for name in ("postgres", "cache", "api-1", "api-2")]
        data = tmp_path
        done = polka("audit", POLKA_DATABASE_URL=f"postgresql://postgres@/postgres?host={socket_of(running)}")
        assert done.returncode == 0, done.stdout
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WAIT_SECONDS) == 0
        assert "Traceback" not in running.said()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
    with up(data) as again:
        assert client.get(f"{again.url}/transaction", headers=key).json()["sender"]["bank"] == "one"
        assert f"The console: {again.url}/console\n" in again.said()
        assert "polka_" not in again.said()


def socket_of(running: Up) -> str:
    found = re.search(r"^postgres +\d+ +(\S+)", running.said(), re.MULTILINE)
    assert found
    return found[1]


def test_up_starts_an_ousted_cache_again_only_after_a_while(tmp_path: Path, services: Services) -> None:
    """At once, the two would oust each other for ever."""
    with up(tmp_path, POLKA_DATABASE_URL=services.database_url) as running:
        other = services.another_cache().ready()
        ousted = "cache ended (exit code 75); starting it again in 15.0 s"
        wait_for("the cache is ousted", partial(running.says, ousted))
        assert other.is_ready()


def test_up_leaves_nobody_behind_when_it_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        pids = [running.pid(name) for name in ("postgres", "cache", "api-1", "api-2")]
        running.process.kill()
        running.process.wait()
        for pid in pids:
            wait_for("it ends with its parent", partial(is_dead, pid))
    with up(tmp_path) as again:
        assert client.get(f"{again.url}/hello").status_code == 200


def is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_second_up_in_the_same_folder_or_on_the_same_port(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        said = one_line(polka("up", f"--port={free_port()}", f"--cache-port={free_port()}", f"--data={tmp_path}"))
        assert said == f"Another Polka uses {tmp_path}: stop it, or choose another folder with --data."
        said = one_line(polka("up", f"--port={running.port}", f"--cache-port={free_port()}", "--data=/tmp/other"))
        assert said.startswith(f"Cannot listen on 127.0.0.1:{running.port}")


def test_up_over_a_given_database(tmp_path: Path, empty_database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=empty_database_url) as running:
        assert "PostgreSQL as given" in running.said()
        assert client.get(f"{running.url}/banks", headers=running.key()).json()["banks"] == []


def test_up_without_keys_warns(tmp_path: Path, empty_database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=empty_database_url, POLKA_NO_AUTH="true") as running:
        assert "everybody on this machine is an operator" in running.said()
        assert "polka_" not in running.said()
        assert client.get(f"{running.url}/banks", headers=bearer("nothing")).status_code == 200


def test_spam_with_a_key_that_is_none_says_so(services: Services) -> None:
    api = services.api().ready()
    for key in ([], ["--key=polka_wrong"]):
        done = polka("spam", f"--url={api.url}", "--transactions=5", *key)
        assert done.returncode == 1
        assert "POLKA_KEY" in done.stderr
    done = polka("spam", f"--url={api.url}", "--transactions=5", POLKA_KEY=KEY)
    assert "5 of 5 payments" in done.stderr
    assert KEY not in done.stderr + done.stdout


def test_apis_share_the_port_and_the_load(tmp_path: Path, database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=database_url) as running:
        for _ in range(200):
            client_of_its_own(running.url)
        addresses = dict(re.findall(r"^(cache|api-\d) +\d+ +\S+ +(\S+)$", running.said(), re.M))
        assert "polka_epoch 1.0" in client.get(f"{addresses['cache']}/metrics").text
        counts = []
        for name in ("api-1", "api-2"):
            text = client.get(f"{addresses[name]}/metrics").text
            found = re.search(r'polka_http_requests_total\{method="GET",route="/hello",status="200"\} (\S+)', text)
            counts.append(float(found[1]) if found else 0)
        assert min(counts) >= 30, counts


def client_of_its_own(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_demo_ends_with_a_clean_audit(tmp_path: Path) -> None:
    done = polka("demo", "--transactions=500", "--max-workers=10")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "500 of 500 payments" in done.stderr
    refused = re.search(r"(\d+)  cap_exceeded\n", done.stderr)
    assert f"{500 - int(refused[1] if refused else 0)} transactions" in done.stdout
    assert "Window 1 is settled: opened " in done.stdout
    exact, whole = r" +[\d,]+\.\d\d" * 3 + r" +\d+\.\d %\n", r" +[\d,]+" * 3 + r" +\d+\.\d %\n"
    assert re.search(f"^currency +payment by payment .*\nEUR{exact}JPY{whole}USD{exact}", done.stdout, re.M)
    assert re.search(r"^  (\d+) of \1 checks hold\. --verbose lists them\.\nThe audit is clean\.\n", done.stdout, re.M)
    assert re.search(r"^(EUR|JPY|USD) +bank\d+ +[\d,.]+ +bank\d+ +[\d,.]+$", done.stdout, re.M)
    assert done.stdout.startswith("Polka ")
    assert "docs/glossary.md" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_watched_demo_goes_on_at_its_rate_until_ctrl_c_and_ends_with_a_clean_audit(tmp_path: Path) -> None:
    log, rate = tmp_path / "log", 40
    with started(log, "demo", "--watch", f"--rate={rate}") as demo:
        watched = wait_for("it says where", lambda: WATCHED.search(log.read_text()))
        url, key = watched[1], Path(watched[2]).read_text()
        wait_for("it has paid for a while", lambda: len(payments_of(url, key)) >= 100)
        assert client.get(f"{url}/drills", headers=bearer(key)).json()["targets"] == ["cache", "api", "postgres"]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(WAIT_SECONDS) == 0, log.read_text()
    said = log.read_text()
    paid = re.search(r"^(\d+) payments in (\S+) s: (\d+) a second$", said, re.MULTILINE)
    assert paid, said
    assert re.search(r"^process +pid  address +metrics and health\n", said, re.MULTILINE)
    assert rate / 2 < int(paid[3]) <= rate + 1
    assert re.search(r"^Window \d+ is settled", said, re.MULTILINE)
    assert "The audit is clean.\n" in said
    assert "\x1b" not in said
    assert "Traceback" not in said, said[said.index("Traceback") - 500 :]


WATCHED = re.compile(r"Watch it: (\S+)/console, with the key in (.+), which you alone can read\.")


def payments_of(url: str, key: str) -> list[Any]:
    """Some of those that are stored."""
    found: list[Any] = client.get(f"{url}/transactions?limit=200", headers=bearer(key)).json()["transactions"]
    return found


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "many", "1e9"])
def test_a_rate_of_the_demo_that_is_none(rate: str) -> None:
    said = one_line(polka("demo", "--watch", f"--rate={rate}"))
    assert said.endswith(f"'{rate}' is no number of payments a second, above 0 and at most 1,000,000.")


def test_a_watched_demo_has_no_number_of_payments() -> None:
    said = one_line(polka("demo", "--watch", "--transactions=5"))
    assert said == "--watch goes on until Ctrl-C: it goes without --transactions."
