"""The commands of every day: status, pay, banks, payments, clearing list, console."""

import json
import re
import signal
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from commands import NO_BROWSER, Up, in_process, mistake, one_line, polka, started, up
from polka.local import presence
from services import client, wait_for
from waiting import WAIT_SECONDS

KEY = f"polka_{'a' * 40}"
PAYMENT = ["pay", "bank1/ACC1", "bank2/ACC1", "12.50", "USD"]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Up, str]]:
    """A Polka with two banks, and the option that names its folder."""
    with tempfile.TemporaryDirectory(prefix="polka-everyday-") as name, up(Path(name), data="data") as running:
        data = f"--data={name}/data"
        assert polka("seed", "--banks=2", "--accounts=0", data).returncode == 0
        yield running, data


def test_a_payment_is_made_and_listed(running: tuple[Up, str]) -> None:
    up, data = running
    done = polka(*PAYMENT, "--reference=Rent, March", data)
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(
        r"Idempotency key: ([0-9a-f-]{36})\nPaid 12\.50 USD from bank1/ACC1 to bank2/ACC1\.\nId ([0-9a-f-]{36})\n",
        done.stdout,
    )
    assert said, done.stdout
    found = client.get(f"{up.url}/transaction/{said[2]}", headers=up.key()).json()
    assert (found["amount"], found["currency"], found["reference"]) == (1250, "USD", "Rent, March")
    again = polka(*PAYMENT, "--reference=Rent, March", f"--idempotency-key={said[1]}", data)
    assert again.stdout == f"{done.stdout}The idempotency key {said[1]} had paid this before. Nothing was paid again.\n"
    done = polka("payments", "--ids", "--bank=bank1", data)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["made", "(UTC)", "from", "to", "amount", "currency", "state", "id"]
    assert [line[2:] for line in lines[1:] if said[2] in line] == [
        ["bank1/ACC1", "bank2/ACC1", "12.50", "USD", "accepted", said[2]]
    ]


def test_a_payment_across_currencies_says_what_the_receiver_gets(running: tuple[Up, str]) -> None:
    _, data = running
    done = polka("pay", "bank1/CROSSES", "bank2/ACC1", "12.50 EUR", "--receiver-currency=JPY", data)
    said = re.search(r"^The receiver gets ([\d,]+ JPY), at [\d.]+ of \d{4}-\d\d-\d\d\.$", done.stdout, re.M)
    assert said, done
    assert polka("pay", "bank1/CROSSES", "bank2/ACC1", "1 EUR", data).returncode == 0
    heading, *rows = [re.split(" {2,}", line) for line in in_process("payments", data, "--limit=2").stdout.splitlines()]
    assert heading == ["made (UTC)", "from", "to", "amount", "currency", "receiver gets", "state"]
    assert [row[3:] for row in rows[:2]] == [["1.00", "EUR", "accepted"], ["12.50", "EUR", said[1], "accepted"]]


def test_a_payment_to_an_unknown_bank_is_one_clear_line(running: tuple[Up, str]) -> None:
    assert "nobody" in one_line(polka("pay", "bank1/ACC1", "nobody/ACC1", "1", "USD", running[1]))


FIRST = "The idempotency key kept keeps this first answer."
ADVICE = "To try again, leave out --idempotency-key or change the key."


def test_a_rejection_under_a_key_of_the_user_says_that_the_key_keeps_it(running: tuple[Up, str]) -> None:
    _, data = running
    for words in (["open", "held", "free"], ["cap", "held", "1 USD"]):
        assert in_process("banks", *words, data).exit_code == 0
    pay = ["pay", "held/A", "free/B", "2 USD", data]
    reason = "held may owe 1.00 USD at most: its balance is 0.00, and 0.00 is pending."
    assert mistake(*pay, code=1) == reason
    assert mistake(*pay, "--idempotency-key=kept", code=1) == f"{reason}\n{FIRST} {ADVICE}"
    assert in_process("banks", "uncap", "held", "USD", data).exit_code == 0
    said = mistake(*pay, "--idempotency-key=kept", code=1)
    assert said == f"The idempotency key kept got this answer before: {reason} {ADVICE}"
    other = [*pay[:3], "3 USD", data]
    said = mistake(*other, "--idempotency-key=kept", code=1)
    assert said == f"The idempotency key kept belongs to another payment. {ADVICE}"
    assert in_process(*pay).exit_code == 0


def test_a_rejection_that_no_key_keeps_is_not_called_final(running: tuple[Up, str]) -> None:
    _, data = running
    key = "--idempotency-key=not kept"
    assert (
        mistake("pay", "bank1/A", "bank1/A", "1 USD", key, data, code=1) == "receiver: it is the sender's own account."
    )
    assert in_process("pay", "bank1/A", "bank1/B", "1 USD", key, data).exit_code == 0


def test_payments_of_an_unknown_bank_or_account_are_an_error(running: tuple[Up, str]) -> None:
    _, data = running
    assert in_process("banks", "open", "silent", data).exit_code == 0
    none = "There are no such payments."
    assert in_process("payments", "--bank=silent", data).stdout.splitlines()[-1] == none
    said = mistake("payments", "--bank=nobank", data, code=1)
    assert said == "There is no bank nobank. `polka banks` lists the banks, and `polka banks open` opens others."
    said = mistake("payments", "--bank=silent", "--account=A", data, code=1)
    assert said == "silent has no account A. An account opens with its first payment."
    assert mistake("payments", "--bank=nobank", "--account=A", data, code=1).startswith("There is no bank nobank.")
    key = polka("keys", "create", "--name=silent", "--bank=silent", data).stdout.strip()
    assert in_process("payments", "--bank=nobank", f"--key={key}", data).stdout.splitlines()[-1] == none


def test_status_banks_and_windows_show_amounts_as_people_write_them(running: tuple[Up, str]) -> None:
    up, data = running
    done = polka("pay", "bank1/B", "bank2/B", "1,250", "JPY", data)
    assert done.returncode == 0, done.stderr
    done = polka("status", data)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"Polka \S+ answers at {up.url}\.\nWindow 1 is open: opened 2", done.stdout)
    done = polka("banks", "--limit=1", data)
    assert "bank2" not in done.stdout
    assert "There are more. --limit shows more of them.\n" in done.stdout
    done = polka("clearing", "list", data)
    assert re.fullmatch(
        r"window  state  opened \(UTC\) +closed \(UTC\)  settled \(UTC\)\n +1  open   [\d :-]+\n", done.stdout
    ), done.stdout


def cells(*words: str) -> list[list[str]]:
    """The rows of the table that the command shows, without its heading."""
    done = polka(*words)
    assert done.returncode == 0, done.stderr
    return [re.split(" {2,}", line.strip()) for line in done.stdout.splitlines()[1:]]


def test_banks_shows_who_owes_and_what_is_pending(running: tuple[Up, str]) -> None:
    _, data = running
    opened = polka("banks", "open", "debtor", "creditor", "idle", data)
    assert opened.returncode == 0, opened.stderr
    assert polka("pay", "debtor/A", "creditor/B", "1,250.50", "CHF", data).returncode == 0

    def shown() -> list[list[str]]:
        return [row for row in cells("banks", data) if row[0] in ("debtor", "creditor", "idle")]

    posted = [["creditor", "CHF", "1,250.50", "0.00"], ["debtor", "CHF", "-1,250.50", "0.00"], ["idle"]]
    pending = [["creditor", "CHF", "0.00", "1,250.50"], ["debtor", "CHF", "0.00", "-1,250.50"], ["idle"]]
    seen = shown()
    assert seen in ([["creditor"], ["debtor"], ["idle"]], pending, posted)
    wait_for("the payment is posted", lambda: shown() == posted)


def test_payments_are_the_newest_first_and_those_of_a_bank_or_an_account_alone(running: tuple[Up, str]) -> None:
    _, data = running
    assert polka("banks", "open", "east", "west", "far", data).returncode == 0
    for sender, receiver, amount in (("east/A", "west/B", "1"), ("west/B", "far/C", "2"), ("far/D", "east/A", "3")):
        assert polka("pay", sender, receiver, amount, "USD", data).returncode == 0
    shown = {
        words: [row[1:4] for row in cells("payments", *words, data)]
        for words in [("--bank=east",), ("--bank=far",), ("--bank=far", "--account=D"), ("--account=B", "--limit=2")]
    }
    one, two, three = ["east/A", "west/B", "1.00"], ["west/B", "far/C", "2.00"], ["far/D", "east/A", "3.00"]
    assert shown[("--bank=east",)] == [three, one]
    assert shown[("--bank=far",)] == [three, two]
    assert shown[("--bank=far", "--account=D")] == [three]
    assert shown[("--account=B", "--limit=2")][:2] == [two, one]


def test_a_payment_with_a_fee_shows_the_fee(running: tuple[Up, str]) -> None:
    up, data = running
    polka("banks", "open", "charged", "free", data)
    terms = {"fees": {"USD": {"fixed": 1_234_56}}}
    client.patch(f"{up.url}/banks/charged", json=terms, headers=up.key()).raise_for_status()
    assert "The fee is 1,234.56 USD.\n" in polka("pay", "charged/A", "free/B", "1", "USD", data).stdout
    assert "fee" not in polka("pay", "free/B", "charged/A", "1", "USD", data).stdout


def test_status_shows_debts_and_the_last_audit(running: tuple[Up, str]) -> None:
    up, data = running
    polka("banks", "open", "owing", "owed", data)
    assert polka("pay", "owing/A", "owed/B", "12,345", "KRW", data).returncode == 0

    def figures() -> list[str]:
        return next((row for row in cells("status", data) if row[0] == "KRW"), [])

    def runs() -> list[str]:
        return [run["ended_at"] for run in client.get(f"{up.url}/audit", headers=up.key()).json()["runs"]]

    wait_for("the payment is posted", lambda: figures() == ["KRW", "12,345", "12,345", "0"])
    wait_for("an audit has run", runs)
    said = polka("status", data).stdout.splitlines()[-1]
    assert said in [f"The audit of {at[:19].replace('T', ' ')} UTC found no fault." for at in runs()]


def test_windows_are_listed_with_their_times(running: tuple[Up, str]) -> None:
    up, data = running
    assert polka("clearing", "close", "1", data).returncode == 0
    assert polka("clearing", "settle", "1", data).returncode == 0
    assert polka("clearing", "close", "2", data).returncode == 0
    found = client.get(f"{up.url}/clearing", headers=up.key()).json()["windows"]
    times = ("opened_at", "closed_at", "settled_at")
    heading, *lines = polka("clearing", "list", data).stdout.splitlines()
    places = [*(heading.index(title) for title in ("state", "opened", "closed", "settled")), None]
    shown = [[line[start:end].strip() for start, end in pairwise(places)] for line in lines]
    assert shown == [[one["state"], *((one[at] or "")[:19].replace("T", " ") for at in times)] for one in found]
    assert [one["state"] for one in found] == ["open", "closed", "settled"]


def test_a_banks_key_sees_its_own_and_the_status_without_figures(running: tuple[Up, str]) -> None:
    _, data = running
    made = polka("keys", "create", "--name=one", "--bank=bank1", data)
    key = made.stdout.strip()
    assert polka("payments", data, f"--key={key}").returncode == 0
    done = polka("status", data, f"--key={key}")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "The key of an operator shows more.")


def test_all_scopes_by_one_option(running: tuple[Up, str]) -> None:
    _, data = running
    made = polka("keys", "create", "--name=anna", "--operator", data)
    assert polka("status", data, f"--key={made.stdout.strip()}").stdout.splitlines()[-1] != (
        "The key of an operator shows more."
    )
    listed = polka("keys", "list", data).stdout.splitlines()
    assert [line for line in listed if len(line) > 80] == []
    (heading,) = [number for number, line in enumerate(listed) if line.endswith("  anna  operators")]
    assert listed[heading + 1].startswith("  all scopes  made 2")
    said = one_line(polka("keys", "create", "--name=x", "--operator", "--bank=bank1", data))
    assert said == "--operator gives all scopes to an operator: leave out --scope and --bank."


PAID = {
    "id": "01a22be7-6638-7499-a56e-7242b1982621",
    "version": 1,
    "status": "accepted",
    "sender": {"bank": "bank1", "account": "ACC1"},
    "receiver": {"bank": "bank2", "account": "ACC1"},
    "amount": 1250,
    "currency": "USD",
    "reference": None,
    "batch": "01a22be7-6638-7499-a56e-7242b1982622",
    "created_at": "2026-11-30T10:00:00Z",
}


def answer(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[str]]]:
    """A Polka that gives these answers, one a connection, and the idempotency keys that it gets. Empty is a loss."""
    keys: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for said in answers:
                connection, _ = server.accept()
                with connection:
                    request = b""
                    while not (b'"currency"' in request and request.endswith(b"}")):
                        request += connection.recv(10_000)
                    keys.extend(re.findall(r"(?mi)^idempotency-key: (\S+)", request.decode()))
                    connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", keys
        thread.join(WAIT_SECONDS)


def test_a_payment_without_an_answer_is_sent_again_with_its_key() -> None:
    with answering(b"", answer("201 Created", json.dumps(PAID).encode())) as (url, keys):
        done = polka(*PAYMENT, f"--url={url}", f"--key={KEY}")
    assert done.returncode == 0, done.stderr
    assert len(keys) == 2
    assert {f"Idempotency key: {key}" for key in keys} == {done.stdout.splitlines()[0]}


def test_a_payment_with_an_unknown_outcome_says_how_to_go_on() -> None:
    with answering(answer("500 Oops", b"oops")) as (url, keys):
        done = polka(*PAYMENT, f"--url={url}", f"--key={KEY}")
    assert done.returncode == 75
    assert "The payment may or may not be made." in done.stderr
    assert f"--idempotency-key {keys[0]}\n" in done.stderr
    assert KEY not in done.stderr + done.stdout


def test_a_payment_that_is_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with started(log, *PAYMENT, f"--url={url}", f"--key={KEY}") as process:
            server.settimeout(WAIT_SECONDS)
            connection, _ = server.accept()
            with connection:
                assert connection.recv(10_000)
                process.send_signal(signal.SIGINT)
                assert process.wait(WAIT_SECONDS) == 130
    said = log.read_text()
    key = said.splitlines()[0].removeprefix("Idempotency key: ")
    assert "The payment may or may not be made." in said
    assert f"--idempotency-key {key}\n" in said
    assert "Traceback" not in said


def test_the_console_opens_signed_in_and_no_command_line_has_the_key(running: tuple[Up, str], tmp_path: Path) -> None:
    up, data = running
    folder = Path(data.removeprefix("--data="))
    key = (found := presence.find(folder)) and found.console_key
    assert key
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$*" > {tmp_path}/words\n')
    browser.chmod(0o755)
    done = polka("console", data, BROWSER=str(browser))
    assert done.returncode == 0, done.stderr
    words = (tmp_path / "words").read_text()
    assert words == (folder / "console.html").as_uri()
    assert "polka_" not in words + done.stdout + done.stderr
    page = folder / "console.html"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f'location.replace("{up.url}/console#key={key}")' in page.read_text()


def test_without_a_browser_the_console_is_named_without_the_key(running: tuple[Up, str]) -> None:
    up, data = running
    done = polka("console", data, **NO_BROWSER)
    assert (done.returncode, "polka_" in done.stdout + done.stderr) == (1, False)
    folder = data.removeprefix("--data=")
    assert f"Open {up.url}/console in one, and enter the key in {folder}/operator-key." in done.stdout
