"""Runs of the spammer that are stopped, go on without end, or lose a process."""

import re
import signal
from pathlib import Path

import psutil
import pytest

from door import door, problem
from running import Running
from services import wait_for
from spammers import spamming, stored
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.usefixtures("with_a_key")


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_run_that_is_stopped_early_says_so_and_has_failed(
    polka: Running, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    before, log = stored(polka), tmp_path / "log"
    with spamming(log, polka.url, f"--processes={processes}", "--rate=200", "--transactions=100000") as process:
        wait_for("it has begun", lambda: stored(polka) > before)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(WAIT_SECONDS) == 1, log.read_text()
    assert "Stopped early." in log.read_text()
    assert "Traceback" not in log.read_text()
    assert len(family) == (0 if processes == 1 else 2)
    assert not psutil.wait_procs(family, WAIT_SECONDS)[1]


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_run_without_end_goes_well_when_it_is_stopped_and_sends_nothing_before_it_is_due(
    polka: Running, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    before, log = stored(polka), tmp_path / "log"
    words = [f"--processes={processes}", "--transactions=0", "--rate=0.05", "--max-workers=10", "--progress=lines"]
    with spamming(log, polka.url, *words) as process:
        wait_for("the first is paid", lambda: re.search(r"(?m)^1 +\d+/s", log.read_text()))
        process.send_signal(number)
        assert process.wait(25) == 0, log.read_text()  # users that wait for their time would be given longer
    assert stored(polka) == before + 1
    assert re.search(r"^1 payments in \S+ s", log.read_text(), re.MULTILINE)
    assert "Stopped early." not in log.read_text()


def test_a_run_without_end_that_did_not_go_well_has_failed(polka: Running, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        door(polka.url, lambda _: (400, problem("invalid"))) as gate,
        spamming(log, gate.url, "--transactions=0", "--rate=20") as process,
    ):
        wait_for("something is refused", lambda: "warning: invalid" in log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 1, log.read_text()


def test_a_run_that_loses_a_worker_process_or_all_of_them_ends_and_has_failed(polka: Running, tmp_path: Path) -> None:
    words = ["--processes=2", "--rate=200", "--transactions=100000", "--progress=lines"]
    logs = [tmp_path / "one", tmp_path / "all"]
    with spamming(logs[0], polka.url, *words) as loses_one, spamming(logs[1], polka.url, *words) as loses_all:
        wait_for(
            "both have begun", lambda: all(re.search(r"(?m)^[1-9]\d* of 100,000", log.read_text()) for log in logs)
        )
        one, *_ = psutil.Process(loses_one.pid).children()
        for worker in (one, *psutil.Process(loses_all.pid).children()):
            worker.kill()
        for process, log in zip((loses_one, loses_all), logs, strict=True):
            assert process.wait(WAIT_SECONDS) == 1, log.read_text()
            assert "Stopped early." in log.read_text()
            assert "Traceback" not in log.read_text()
    assert "A worker process has died" in logs[0].read_text()


def test_a_killed_run_leaves_nobody_behind(polka: Running, tmp_path: Path) -> None:
    before = stored(polka)
    with spamming(tmp_path / "log", polka.url, "--processes=2", "--rate=200", "--transactions=100000") as process:
        wait_for("it has begun", lambda: stored(polka) > before)
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        assert not psutil.wait_procs(family, WAIT_SECONDS)[1]
