"""Runs of the spammer's web page, with workers here and elsewhere."""

import asyncio
import contextlib
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest

from databases import execute
from polka.local.demo import free_port
from running import Running
from services import Services, client, wait_for
from spammers import STORED, Answers, fetch, spam, spamming, start_a_run, status, stored
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.usefixtures("with_a_key")


@pytest.mark.parametrize("processes", [1, 2])
def test_the_web_page_starts_runs_of_exactly_n_payments(polka: Running, tmp_path: Path, processes: int) -> None:
    before, port, log = stored(polka), free_port(), tmp_path / "log"
    page = f"http://127.0.0.1:{port}"
    words = ["--web", f"--web-port={port}", f"--processes={processes}", "--transactions=40"]
    with spamming(log, polka.url, *words) as process:
        wait_for("the page is served", lambda: "Locust" in client.get(page).raise_for_status().text)
        wait_for("all workers are there", lambda: workers(page) == processes)
        start_a_run(page)
        wait_for("the first has ended", lambda: "40 of 40 payments" in log.read_text())
        wait_for("it stands still", lambda: status(page)["state"] == "stopped")
        assert stored(polka) == before + 40
        wait_for("all workers are there again", lambda: workers(page) == processes)
        start_a_run(page, transactions="60", rate="200")
        wait_for("the second has ended", lambda: "60 of 60 payments" in log.read_text())
        wait_for("it stands still", lambda: status(page)["state"] == "stopped")
        assert stored(polka) == before + 100
        wait_for("all workers are there again", lambda: workers(page) == processes)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0, log.read_text()
        assert not psutil.wait_procs(family, WAIT_SECONDS)[1]


def test_workers_elsewhere_send_exactly_n_payments_for_a_page(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(execute(services.database_url, "DELETE FROM banks"))
    api, port, logs = services.api().ready(), free_port(), [tmp_path / name for name in ("page", "one", "two")]
    page, joined = f"http://127.0.0.2:{port}", str(free_port())
    monkeypatch.setenv("LOCUST_MASTER_BIND_PORT", joined)
    monkeypatch.setenv("LOCUST_MASTER_NODE_PORT", joined)
    with contextlib.ExitStack() as running:
        words = ["--web", "--web-host=127.0.0.2", f"--web-port={port}", "--master", "--banks=3", "--mix=post=9,get=1"]
        running.enter_context(spamming(logs[0], api.url, *words))
        for log in logs[1:]:
            running.enter_context(spamming(log, "http://127.0.0.1:1", "--worker-of=127.0.0.1", "--transactions=7"))
        for count in (301, 60):
            before = fetch(services, STORED)
            wait_for("both workers are ready", lambda: states_of_workers(page) == ["ready", "ready"])
            start_a_run(page, transactions=str(count))
            wait_for("the run has ended", partial(says, logs[0], f"{count} of {count} payments"))
            wait_for("it stands still", lambda: status(page)["state"] == "stopped")
            assert fetch(services, STORED) == before + count
    assert fetch(services, "SELECT count(*) FROM banks") == 3


def says(log: Path, text: str) -> bool:
    return text in log.read_text()


def states_of_workers(page: str) -> list[str]:
    return [worker["state"] for worker in status(page).get("workers", [])]


def test_a_master_without_a_page_or_with_processes_is_one_clear_line() -> None:
    for words in (["--master"], ["--master", "--web", "--processes=2"]):
        done = spam("http://127.0.0.1:1", *words)
        assert done.returncode != 0
        assert done.stderr.splitlines()[-1] == (
            "Error: --master goes with --web and without --processes: its workers are elsewhere."
        )


def test_the_page_sends_its_key_to_no_other_api(polka: Running, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    page = f"http://127.0.0.1:{port}"
    with Answers() as other, spamming(log, polka.url, "--web", f"--web-port={port}", "--transactions=40"):
        wait_for("the page is served", lambda: "Locust" in client.get(page).raise_for_status().text)
        start_a_run(page, host=other.url)
        refusal = f"Error: The run cannot start: the key that this spammer was started with is for {polka.url} alone."
        wait_for("it is refused", lambda: refusal in log.read_text())
    assert other.asked == 0


def workers(page: str) -> int:
    return len(status(page).get("workers", [])) or 1
