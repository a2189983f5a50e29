"""The spammer as a command, which sends exactly N payments to a real Polka."""

import asyncio
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import spammer
from databases import execute
from door import Answer, Loss, door, problem
from exposed import value
from polka.local.demo import free_port
from polka.rules.keys import NewKey, Scope
from polka.store import api_keys, database
from proof import prove
from running import Running
from services import Services, client, wait_for
from spammers import STORED, fetch, spam, spamming, stored
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.usefixtures("with_a_key")


def said(done: subprocess.CompletedProcess[str], pattern: str) -> str:
    found = re.search(pattern, done.stderr)
    assert found, done.stderr
    return found[1]


def test_exactly_n_payments_arrive(polka: Running) -> None:
    before = stored(polka)
    done = spam(polka.url, transactions=301)
    assert done.returncode == 0, done.stderr
    assert "301 of 301 payments" in done.stderr
    assert said(done, r"(\d+)  accepted") == "301"
    assert stored(polka) == before + 301


def test_it_is_a_plain_locustfile(polka: Running, tmp_path: Path) -> None:
    before = stored(polka)
    file = Path(str(spammer.__file__)).with_name("locustfile.py")
    words = ["--headless", "--users=5", "--spawn-rate=5", "--transactions=77", "--pool=3", "--skew=1"]
    done = subprocess.run(
        [sys.executable, "-m", "locust", f"--locustfile={file}", f"--host={polka.url}", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "77 of 77 payments" in done.stderr
    assert stored(polka) == before + 77


def test_fewer_workers_than_processes_is_one_clear_line(polka: Running) -> None:
    done = spam(polka.url, "--max-workers=1", "--processes=2")
    assert done.returncode == 1
    said = "Error: The run cannot start: 2 processes need as many workers, or some would idle."
    assert done.stderr.splitlines() == [said]


def test_two_spammers_of_two_processes_each_send_exactly_n_at_once(polka: Running) -> None:
    before = stored(polka)
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(spam, polka.url, "--processes=2", transactions=count) for count in (50, 70)]
    for run, count in zip(runs, (50, 70), strict=True):
        assert run.result().returncode == 0, run.result().stderr
        assert f"{count} of {count} payments" in run.result().stderr
    assert stored(polka) == before + 120


def test_a_run_shows_the_requests_of_all_its_processes_as_metrics(polka: Running, tmp_path: Path) -> None:
    port, before = free_port(), stored(polka)
    words = [f"--metrics-port={port}", "--processes=2", "--max-workers=10", "--rate=100", "--transactions=100000"]
    with spamming(tmp_path / "log", polka.url, *words):

        def accepted() -> float:
            url = f"http://127.0.0.1:{port}"
            return value(url, "polka_spam_requests_total", operation="payment", outcome="accepted") or 0

        wait_for("some hundred payments are counted", lambda: accepted() > 200)
        assert 200 < accepted() <= stored(polka) - before
        assert value(f"http://127.0.0.1:{port}", "polka_spam_users") == 10


def test_a_rate_is_kept(polka: Running) -> None:
    done = spam(polka.url, "--rate=100", transactions=150)
    assert done.returncode == 0, done.stderr
    assert 1.4 <= float(said(done, r"150 of 150 payments in (\S+) s")) < 6


def test_latency_in_an_open_loop_counts_from_the_scheduled_start(polka: Running, tmp_path: Path) -> None:
    """Two workers send one slow payment each while an api is frozen; a hundred are late for it."""
    before, log = stored(polka), tmp_path / "log"
    words = ["--max-workers=2", "--rate=100", "--transactions=250"]
    with spamming(log, polka.url, *words) as process:
        wait_for("it has begun", lambda: stored(polka) > before + 20)
        with polka.apis[0].frozen():
            time.sleep(1)  # not a wait for anything: this is how long it is frozen
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()
    found = re.search(r"p95 ([\d,]+) ms", log.read_text())
    assert found, log.read_text()
    assert int(found[1].replace(",", "")) >= 500
    assert stored(polka) == before + 250


UNKNOWN: list[Loss | Answer | None] = [
    Loss.CUT,
    (503, problem("outcome_unknown")),
    Loss.HELD,
    (502, "<h1>Bad gateway</h1>"),
    (504, problem("timeout")),
    (429, problem("overloaded")),
    *[None] * 6,
]


def test_unknown_outcomes_are_sent_again_with_the_same_key_until_all_n_are_accepted(
    polka: Running,
) -> None:
    before = stored(polka)
    with door(polka.url, lambda number: UNKNOWN[number % len(UNKNOWN)]) as entrance:
        done = spam(entrance.url, "--client-timeout=0.5", transactions=40)
    assert done.returncode == 0, done.stderr
    assert stored(polka) == before + 40
    assert len(entrance.keys) == 40
    assert int(said(done, r"(\d+)  sent again with the same key")) == entrance.keys.total() - 40 >= 6
    assert warned(done) == ["no_answer", "outcome_unknown", "overloaded", "status_502", "timeout"]


def warned(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The kinds of answers that were warned about, each as often as it was."""
    return sorted(re.findall(r"^warning: (\w+): ", done.stderr, re.MULTILINE))


NO: list[Answer | None] = [
    None,
    (422, problem("unknown_bank", "There is no bank X.")),
    (422, problem("same_account")),
    (418, "I am a teapot"),
    (400, "[1]"),
    (400, '{"code": 5, "detail": []}'),
]


def test_each_kind_of_error_answer_is_warned_about_once_and_counted(polka: Running) -> None:
    """Also where several processes see them."""
    before = stored(polka)
    with door(polka.url, lambda number: NO[number % len(NO)]) as entrance:
        done = spam(entrance.url, "--processes=2", "--header=X-Run: a: b", transactions=60)
    assert done.returncode == 1
    assert stored(polka) == before + 10
    assert entrance.keys.total() == len(entrance.keys) == 60  # these are certain: nothing is sent again
    assert warned(done) == ["same_account", "status_400", "status_418", "unknown_bank"]
    assert "warning: unknown_bank: There is no bank X." in done.stderr
    assert "60 of 60 payments" in done.stderr
    assert said(done, r"(\d+)  accepted") == "10"
    assert said(done, r"(\d+)  unknown_bank") == "10"
    assert said(done, r"(\d+)  status_400") == "20"
    assert {headers["x-run"] for headers in entrance.headers} == {"a: b"}


def test_what_stays_unknown_after_all_retries_is_not_accepted(polka: Running) -> None:
    with door(polka.url, lambda _: Loss.CUT) as entrance:
        done = spam(entrance.url, "--retries=1", transactions=5)
    assert done.returncode == 1
    assert sorted(entrance.keys.values()) == [2] * 5
    assert said(done, r"(\d+)  no_answer") == "5"


@pytest.mark.parametrize(
    ("url", "fact", "processes"),
    [
        ("http://127.0.0.1:{port}", "Connection refused", 1),
        ("http://127.0.0.1:{port}", "Connection refused", 2),
        ("http://nobody.invalid", "nobody.invalid", 1),
    ],
)
def test_a_wrong_host_is_one_clear_line(url: str, fact: str, processes: int) -> None:
    url = url.format(port=free_port())
    done = spam(url, f"--processes={processes}")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"Error: Nobody answers at {url}: ")
    assert fact in line
    assert "Errno" not in line
    assert len(line) < 150


def test_a_polka_without_banks_is_one_clear_line(services: Services) -> None:
    api = services.api().ready()
    asyncio.run(execute(services.database_url, "DELETE FROM banks"))
    done = spam(api.url)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "Error: The run cannot start: There are 0 banks, a payment needs two: open some with `polka seed` or --banks."
    )


def test_banks_that_are_missing_are_opened_and_paid_between_alone(services: Services) -> None:
    asyncio.run(execute(services.database_url, "DELETE FROM banks WHERE name NOT IN ('bank2', 'bank20')"))
    api = services.api().ready()
    for _ in range(2):
        done = spam(api.url, "--banks=4", "--mix=post=9,delete=1")
        assert done.returncode == 0, done.stderr
    names = {bank["name"] for bank in client.get(f"{api.url}/banks").json()["banks"]}
    assert names == {"bank1", "bank2", "bank3", "bank4", "bank20"}
    found = client.get(f"{api.url}/transactions", params={"limit": 200}).json()["transactions"]
    assert {paid[side]["bank"] for paid in found for side in ("sender", "receiver")} == names - {"bank20"}


CAPS = "--cap=9,000.00 USD, 9000 EUR,900,000 JPY"
VARIETY = ["--currencies=USD,EUR,JPY", "--across=0.3", "--terms=2", CAPS, "--banks=6"]


@pytest.mark.parametrize("bulk", [1, 5])
def test_payments_in_several_currencies_of_banks_with_terms_end_well(services: Services, bulk: int) -> None:
    """Some are refused for a cap: they are counted, and not warned about."""
    cache, api = services.cache().ready(), services.api().ready()
    done = spam(api.url, *VARIETY, f"--bulk={bulk}", "--mix=post=90,delete=9,patch=3", transactions=300)
    assert done.returncode == 0, done.stderr
    accepted, refused = int(said(done, r"(\d+)  accepted")), int(said(done, r"(\d+)  cap_exceeded\n"))
    assert accepted + refused == 300
    assert refused > 0
    assert warned(done) == []
    assert fetch(services, STORED) == accepted
    counts = fetch(
        services,
        "SELECT array_agg(count ORDER BY currency) FROM (SELECT currency, count(*) "
        "FROM transactions GROUP BY 1) currencies",
    )
    assert len(counts) == 3
    assert all(count > accepted / 6 for count in counts), counts
    assert 0.15 < fetch(services, "SELECT count(receiver_amount)::float / count(*) FROM transactions") < 0.45
    for bank, cap in (("bank4", None), ("bank5", 900_000), ("bank6", 900_000)):
        terms = client.get(f"{api.url}/banks/{bank}").json()
        assert terms["caps"] == ({} if cap is None else dict.fromkeys(("EUR", "JPY", "USD"), cap))
        assert all(held["posted"] >= -cap for held in terms["balances"] if cap is not None)
        assert set(terms["fees"]) == set(terms["caps"])
    prove(services.database_url, cache.url)


@pytest.mark.parametrize("bulk", [1, 5])
def test_payments_of_a_suspended_bank_are_refused_and_the_run_ends_well(services: Services, bulk: int) -> None:
    services.cache().ready()
    api = services.api().ready()
    client.patch(f"{api.url}/banks/bank2", json={"suspended": "both"}).raise_for_status()
    done = spam(api.url, "--banks=4", f"--bulk={bulk}", transactions=80)
    assert done.returncode == 0, done.stderr
    refused = int(said(done, r"(\d+)  bank_suspended"))
    assert 0 < refused == 80 - fetch(services, STORED)


def test_terms_with_more_banks_than_there_are_is_one_clear_line(services: Services) -> None:
    done = spam(services.api().ready().url, "--terms=99999")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["Error: The run cannot start: --terms: must be 0 to 20, the number of banks."]


def test_a_key_that_may_not_open_banks_or_agree_terms_is_one_clear_line(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = services.api().ready()
    made = client.post(f"{api.url}/keys", json={"name": "pays", "scopes": ["transactions:write", "transactions:read"]})
    monkeypatch.setenv("POLKA_KEY", made.raise_for_status().json()["key"])
    assert spam(api.url, "--banks=20", transactions=5).returncode == 0
    done = spam(api.url, "--banks=21", transactions=5)
    assert done.returncode == 1
    said = "Error: The run cannot start: POST /banks: The key needs the scope banks:write for this."
    assert done.stderr.strip() == said
    done = spam(api.url, "--terms=1", transactions=5)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("Error: The run cannot start: PATCH /banks/bank9: The key needs the scope ")


def test_a_run_of_the_same_name_pays_nothing_twice(polka: Running, key: str) -> None:
    before = stored(polka)
    for transactions in (30, 50, 50):  # the first ended early, as if it had been killed
        done = spam(polka.url, f"--run-name={key}", "--banks=5", transactions=transactions)
        assert done.returncode == 0, done.stderr
        assert stored(polka) == before + transactions
    assert spam(polka.url, f"--run-name={key}-2", "--banks=5", transactions=50).returncode == 0
    assert stored(polka) == before + 100


def test_it_waits_for_the_api_as_long_as_it_is_told(services: Services, tmp_path: Path) -> None:
    log, api = tmp_path / "log", services.api().ready()
    api.kill()
    with spamming(log, api.url, "--transactions=20", "--wait=5m") as process:
        wait_for("it waits", lambda: "Waiting for " in log.read_text())
        api.restart()
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()
    assert "20 of 20 payments" in log.read_text()
    with spamming(log, f"http://127.0.0.1:{free_port()}", "--wait=5m") as process:
        wait_for("it waits", lambda: "Waiting for " in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 1


def test_it_waits_for_its_key_to_be_made(polka: Running, tmp_path: Path) -> None:
    log, key = tmp_path / "log", api_keys.new_key()

    async def make() -> None:
        async with database.session(polka.database_url) as connection:
            await api_keys.create(connection, key, NewKey("late", scopes=tuple(Scope)))

    with spamming(log, polka.url, "--transactions=20", "--wait=5m", f"--key={key}") as process:
        wait_for("it waits", lambda: "asks for a key" in log.read_text())
        asyncio.run(make())
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()


@pytest.mark.parametrize("rate", ["nan", "1e300", "inf"])
def test_a_rate_that_cannot_be_kept(rate: str) -> None:
    done = spam("http://127.0.0.1:1", f"--rate={rate}")
    assert done.returncode == 2
    assert "Invalid value for '--rate': must be 0 to 1,000,000." in done.stderr
