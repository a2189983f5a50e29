"""The demo: it ends with a clean audit, at once or when its spectator says so."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from commands import one_line, polka, started
from services import bearer, client, wait_for
from waiting import WAIT_SECONDS


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
