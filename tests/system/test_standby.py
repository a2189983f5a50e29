"""A primary with a synchronous standby: whatever befalls them, nothing that a client was told is lost."""

import asyncio
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from click.testing import CliRunner

from api.routes.banks import insert_bank
from commands import run
from memory import data_folder
from polka.audit import runs, snapshot
from polka.audit.snapshot import Seen
from polka.command.main import main
from polka.local.demo import free_port
from polka.rules.audits import Run
from polka.rules.policy import NOTHING_AGREED, Policy, Terms
from polka.store import bank_terms, database
from polka.store.database import Connection, UnreplicatedError
from polka.store.writers import open_writers
from replicas import CAP, CAPPED, SUSPENDED, Pair, ask, make_template
from services import Service, Services, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Wire

T = TypeVar("T")

PAYMENTS = {
    "plain": payment(100),
    "capped": payment(CAP, sender=CAPPED),
    "refused": payment(100, sender=SUSPENDED),
}
"""By their idempotency keys."""
REPEATS = 3
IS_STANDBY = "The database is a standby, or read-only: it accepts no writes."


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One that the user of Postgres may enter."""
    with data_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def template(folder: Path, runner: asyncio.Runner) -> Path:
    return make_template(folder / "template", runner)


@pytest.fixture
def pair(template: Path, runner: asyncio.Runner) -> Iterator[Pair]:
    pair = Pair(template, Path(tempfile.mkdtemp(dir=template.parent.parent)), runner)
    try:
        yield pair
    finally:
        pair.stop()


@pytest.fixture
def polka(pair: Pair, tmp_path: Path) -> Iterator[Services]:
    services = Services(pair.url, tmp_path)
    try:
        yield services
    finally:
        services.stop()


class Client:
    """Asks two apis, and remembers what it was told under each idempotency key."""

    def __init__(self, first: Service, second: Service) -> None:
        self.apis = first, second
        self.told: dict[str, list[httpx.Response]] = {key: [] for key in PAYMENTS}
        self._threads: list[threading.Thread] = []

    def pay(self, api: Service, key: str, seconds: float = 1) -> httpx.Response:
        """Send the payment of this key, and wait so long."""
        headers = {"Idempotency-Key": key, "Request-Timeout": f"{int(seconds * 1000)}ms"}
        response = client.post(f"{api.url}/transaction", json=PAYMENTS[key], headers=headers, timeout=seconds + 30)
        self.told[key].append(response)
        return response

    def look(self, api: Service, key: str) -> None:
        """Ask for what became of the payment of this key."""
        try:
            response = client.get(f"{api.url}/transaction", params={"idempotency_key": key}, timeout=1)
        except httpx.TimeoutException:
            return
        self.told[key].append(response)

    def begin(self) -> None:
        """Send all payments, and wait for them beside the test."""
        for key in PAYMENTS:
            thread = threading.Thread(target=self.pay, args=(self.apis[0], key, 60))
            thread.start()
            self._threads.append(thread)

    def repeat(self) -> None:
        """Ask again and again for all payments at once, through both apis."""
        with ThreadPoolExecutor() as threads:
            for _ in range(REPEATS):
                asking: list[Future[Any]] = []
                for key in PAYMENTS:
                    asking += [threads.submit(self.pay, api, key, 0.5) for api in self.apis]
                    asking += [threads.submit(self.look, self.apis[1], key)]
                for one in asking:
                    one.result()

    def settle(self) -> None:
        """Ask for all payments until each has a certain answer."""
        for key in PAYMENTS:
            wait_for(f"{key} has an answer", partial(self.is_answered, key))
        for thread in self._threads:
            thread.join()

    def is_answered(self, key: str) -> bool:
        return is_certain(self.pay(self.apis[1], key))

    def ids(self, key: str) -> set[str]:
        return {answer.json()["id"] for answer in self.told[key] if answer.is_success}

    def refusals(self, key: str) -> int:
        """How often a refusal was told that is for good."""
        return sum(is_certain(answer) and not answer.is_success for answer in self.told[key])


def is_certain(answer: httpx.Response) -> bool:
    return answer.is_success or answer.status_code in (403, 409, 422)


def crash(pair: Pair) -> None:
    """A process of the server dies, so that the server starts again."""
    os.kill(pair.waiting()[0], signal.SIGKILL)


def terminate(pair: Pair) -> None:
    for pid in pair.waiting():
        pair.ask("SELECT pg_terminate_backend($1)", pid)


def cancel(pair: Pair) -> None:
    for pid in pair.waiting():
        pair.ask("SELECT pg_cancel_backend($1)", pid)


@pytest.mark.parametrize("befalls", [crash, terminate, cancel])
def test_no_answer_is_lost_with_the_primary(pair: Pair, polka: Services, befalls: Callable[[Pair], None]) -> None:
    cache = polka.cache()
    told = Client(polka.api(), polka.api())
    for service in (cache, *told.apis):
        service.ready()
    pair.cut_off()
    told.begin()
    wait_for(
        "all commits wait for the standby",
        lambda: len(pair.waiting("INSERT INTO (transactions|idempotency_keys)")) == 3,
    )
    befalls(pair)
    stored = "SELECT count(*) FROM idempotency_keys WHERE key = ANY($1)"
    wait_for("the primary shows what the standby lacks", lambda: pair.ask(stored, list(PAYMENTS)) == 3)
    told.repeat()
    pair.fail_over()
    resume = {"suspended": "no"}
    wait_for("the bank may send", lambda: client.patch(f"{told.apis[1].url}/banks/{SUSPENDED}", json=resume).is_success)
    told.settle()
    for key in PAYMENTS:
        paid = pair.ask(
            "SELECT array_agg(transaction::text) FROM idempotency_keys WHERE key = $1 AND refusal IS NULL",
            key,
            node=pair.standby,
        )
        assert told.ids(key) == set(paid or []), key
        assert not (paid and told.refusals(key)), key
    assert asyncio.run(snapshot.audit(pair.standby.url)).is_clean


def test_terms_hold_only_once_they_are_replicated(pair: Pair) -> None:
    async def change(connection: Connection) -> object:
        return await bank_terms.change(connection, "bank5", NOTHING_AGREED, Terms({"USD": 1}), "tests")

    def read(known: Policy) -> Callable[[Connection], Awaitable[Policy]]:
        return lambda connection: bank_terms.newest(connection, known)

    known = on(pair, read(Policy(-1)))
    newer = known.version + 1
    found = found_once_replicated(pair, change, f"SELECT version = {newer} FROM policy", read(known))
    assert found.version == newer


def test_a_bank_is_there_already_only_once_it_is_replicated(pair: Pair) -> None:
    def open_it(connection: Connection) -> Awaitable[bool]:
        return insert_bank(connection, "bank8")

    shown = "SELECT count(*) > 0 FROM banks WHERE name = 'bank8'"
    assert found_once_replicated(pair, open_it, shown, open_it) is False


def test_a_run_of_the_audit_counts_only_once_it_is_replicated(pair: Pair) -> None:
    """Else its metric and its row would say that all is proved, and a failover would take the row back."""

    async def cut_off() -> Seen:
        await asyncio.to_thread(pair.cut_off)
        return Seen({}, [])

    async def audit() -> Run:
        return await runs.run(await database.connect(pair.primary.url, "tests"), 1_000, cut_off)

    with ThreadPoolExecutor() as threads:
        running = threads.submit(asyncio.run, audit())
        wait_for("the run waits for the standby", lambda: pair.waiting("INSERT INTO audit_runs") or running.done())
        cancel(pair)
        with pytest.raises(UnreplicatedError):
            running.result()


def on(pair: Pair, work: Callable[[Connection], Awaitable[T]]) -> T:
    """What the work gives on a session of the primary."""

    async def do() -> T:
        async with database.session(pair.primary.url) as connection:
            return await work(connection)

    return asyncio.run(do())


def found_once_replicated(
    pair: Pair,
    change: Callable[[Connection], Awaitable[object]],
    shown: str,
    read: Callable[[Connection], Awaitable[T]],
) -> T:
    """What is read of a change whose commit waited for the standby when the primary crashed."""
    with ThreadPoolExecutor() as threads:
        pair.cut_off()
        changing = threads.submit(on, pair, change)
        wait_for("the change waits for the standby", pair.waiting)
        crash(pair)
        assert isinstance(changing.exception(), Exception)
        wait_for("the primary shows the change", lambda: pair.ask(shown))
        reading = threads.submit(on, pair, read)
        wait_for("the reader waits for the standby", lambda: pair.waiting("pg_logical_emit_message") or reading.done())
        assert not reading.done()
        pair.wire.accept()
        return reading.result()


def test_a_wait_for_the_standby_is_never_cancelled(pair: Pair) -> None:
    """Not when a caller leaves, nor when the work itself is cancelled: either would show what the standby lacks."""
    url = pair.primary.url

    async def by_itself() -> None:
        connection = await database.connect(url, "tests")
        with database.bounded(connection, WAIT_SECONDS):
            await insert_bank(connection, "bank7")

    async def give_up() -> None:
        async with open_writers(url, "tests", 1, WAIT_SECONDS) as writers:
            works = [asyncio.create_task(work) for work in (writers.do(insert_bank, "bank6"), by_itself())]
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            async with asyncio.timeout(WAIT_SECONDS):
                while await ask(url, waiting) != 2:
                    await asyncio.sleep(0.01)
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            for _ in range(10):
                assert not await ask(url, "SELECT count(*) FROM banks WHERE name IN ('bank6', 'bank7')")
            assert await ask(url, waiting) == 2

    pair.cut_off()
    asyncio.run(give_up())


def test_payments_go_on_within_a_second_of_a_switchover(pair: Pair, tmp_path: Path) -> None:
    """Also behind a balancer that leaves sessions where they are."""
    door = Wire(pair.primary.url)
    polka = Services(door.url, tmp_path)
    try:
        api = polka.api().ready()
        assert pay(api).status_code == 201
        pair.ask("ALTER SYSTEM SET default_transaction_read_only = on")
        pair.ask("SELECT pg_reload_conf()")
        wait_for("the old primary takes no payments", lambda: pay(api).status_code == 503)
        assert pair.ask("SELECT pg_promote()", node=pair.standby)
        door.point(pair.standby.url)
        pointed_at = time.monotonic()
        wait_for("the new primary takes payments", lambda: pay(api).status_code == 201)
        assert time.monotonic() - pointed_at <= 1
    finally:
        polka.stop()
        door.close()


def test_a_standby_is_left_for_the_primary_once_there_is_one(pair: Pair, tmp_path: Path) -> None:
    door = Wire(pair.primary.url)
    polka = Services(door.url, tmp_path)
    try:
        api = polka.api().ready()
        assert pay(api).status_code == 201
        pair.lose_primary()
        door.point(pair.standby.url)
        wait_for("the standby takes no payments", lambda: pay(api).json()["code"] == "database_away")
        assert pair.ask("SELECT pg_promote()", node=pair.standby)
        promoted_at = time.monotonic()
        wait_for("the new primary takes payments", lambda: pay(api).status_code == 201)
        assert time.monotonic() - promoted_at <= 1
    finally:
        polka.stop()
        door.close()


def test_a_host_that_is_frozen_costs_little(pair: Pair, tmp_path: Path) -> None:
    pair.ask("ALTER SYSTEM SET synchronous_standby_names = ''")
    pair.ask("SELECT pg_reload_conf()")
    polka = Services(
        f"postgresql://postgres@/postgres?host={pair.standby.socket_folder},{pair.primary.socket_folder}", tmp_path
    )
    try:
        with pair.standby.frozen():
            began_at = time.monotonic()
            asyncio.run(pool_of(polka.database_url))
            assert time.monotonic() - began_at <= 2
            api = polka.api().ready()
            began_at = time.monotonic()
            assert pay(api).status_code == 201
            assert time.monotonic() - began_at <= 2
    finally:
        polka.stop()


async def pool_of(url: str) -> None:
    """Connect by a pool, and beside it."""
    async with database.pool(url, "tests", 1, 1) as pool:
        await pool.fetchval("SELECT 1")
    (await database.connect(url, "tests")).terminate()


def pay(api: Service) -> httpx.Response:
    return client.post(f"{api.url}/transaction", json=payment(), headers={"Request-Timeout": "1s"})


@pytest.fixture(scope="module")
def standby_url(template: Path, runner: asyncio.Runner) -> Iterator[str]:
    pair = Pair(template, Path(tempfile.mkdtemp(dir=template.parent.parent)), runner)
    yield pair.standby.url
    pair.stop()


@pytest.mark.parametrize(
    "words", ["wait --timeout=0s", "migrate", "seed", "keys list", "keys create --name=x", "audit"]
)
def test_a_command_refuses_a_standby_in_one_line(standby_url: str, words: str) -> None:
    done = CliRunner().invoke(main, words.split(), env={"POLKA_DATABASE_URL": standby_url})
    assert done.exit_code == 1
    assert done.output == f"Error: {IS_STANDBY}\n"


@pytest.mark.parametrize("service", ["api", "cache"])
def test_a_service_refuses_a_standby_in_one_line(standby_url: str, service: str) -> None:
    environ = {**os.environ, "POLKA_DATABASE_URL": standby_url}
    done = run([service, f"--port={free_port()}", "--no-auth"], environ)
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["event"] == IS_STANDBY


def test_wait_waits_for_a_standby_to_be_promoted(pair: Pair) -> None:
    said: list[str] = []

    def promote(text: str) -> None:
        said.append(text)
        threads.submit(asyncio.run, ask(pair.standby.url, "SELECT pg_promote()"))

    with ThreadPoolExecutor() as threads:
        asyncio.run(database.patiently(lambda: database.check(pair.standby.url), WAIT_SECONDS, promote))
    assert said == [f"Waiting: {IS_STANDBY}"]
