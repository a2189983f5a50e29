"""The schema: it is migrated once, waited for, and may be that of a later Polka."""

import asyncio
import contextlib
import subprocess
from pathlib import Path

import asyncpg

from commands import one_line, polka, started
from databases import execute
from locks import until_waiting
from polka.local.demo import free_port
from polka.store.migrations import REVISION
from services import Services, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Wire


def test_migrate_seed_and_audit(empty_database_url: str) -> None:
    seeds = [
        ("--banks=3", "--accounts=10", "bank1 to bank3 are open, with 10 accounts."),
        ("--banks=1", "--accounts=1", "bank1 is open, with 1 account."),
        ("--banks=2", "--accounts=0", "bank1 to bank2 are open."),
    ]
    for _ in range(2):
        assert polka("migrate", POLKA_DATABASE_URL=empty_database_url).returncode == 0
        for *words, said in seeds:
            assert polka("seed", *words, POLKA_DATABASE_URL=empty_database_url).stdout == f"{said}\n"
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
