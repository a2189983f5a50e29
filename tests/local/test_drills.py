"""Drills: whatever a `polka up` kills under load, nothing is lost; and what is lost, doubled or wrong is seen."""

import asyncio
import re
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import one_line, polka, started, up
from databases import execute
from drilled import Drilled
from front_door import fetch, refused
from polka.command.drill import show_drill
from polka.local import control, postgres
from polka.local.control import Answer
from polka.rules.drills import Drill, Drills, Payment, Record, Step, Target, balances, compare, differences
from services import KEY, Services, bearer, client, wait_for
from waiting import WAIT_SECONDS


@pytest.fixture(scope="module")
def drilled() -> Iterator[Drilled]:
    """Under spam, and in a folder that no other run of pytest closes to Postgres' user, who enters it again."""
    with tempfile.TemporaryDirectory(prefix="polka-drills-") as name, up(folder := Path(name)) as running:
        drilled = Drilled(running, postgres.own_url(folder), running.key())
        spam = ["spam", *drilled.words, "--banks=5", "--transactions=1000000", "--rate=100", "--progress=lines"]
        with started(folder / "spam", *spam, "--max-workers=10"):
            wait_for("the spam has begun", lambda: re.search(r"(?m)^[1-9][\d,]* of ", (folder / "spam").read_text()))
            yield drilled


@pytest.mark.parametrize("target", [target.value for target in Target])
def test_nothing_is_lost_when_it_is_killed_under_load(drilled: Drilled, target: str) -> None:
    done = polka("drill", target, *drilled.words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 lost, 0 duplicated, 0 stored without acknowledgement.\n" in done.stdout
    assert done.stdout.endswith("Nothing was lost.\n")
    latest = drilled.told()["results"][0]
    assert latest["process"].startswith(target)
    assert drilled.running.says(f"{latest['process']} runs again")
    assert latest["acknowledged_before"] == latest["findings"]["stored_before"] >= 100
    assert latest["acknowledged_after"] == latest["findings"]["stored_after"] >= 100
    assert latest["ready_seconds"] > 0
    assert latest["first_answer_seconds"] > 0


def test_the_audit_agrees(drilled: Drilled) -> None:
    done = polka("audit", POLKA_DATABASE_URL=drilled.database_url)
    assert done.returncode == 0, done.stdout


def test_what_is_not_a_drill_is_refused(drilled: Drilled) -> None:
    assert refused(drilled.post(json={"target": "moon"}), 400, "invalid")["detail"] == (
        "target: must be cache, api or postgres."
    )
    assert refused(drilled.post(json={}), 400, "invalid")["detail"] == "target: is missing."
    refused(drilled.post(content=b"{"), 400, "malformed")
    for headers in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        refused(drilled.post(json={"target": "cache"}, headers=headers), 403, "forbidden")
    assert drilled.told()["running"] is None


TAMPER = """
WITH paid AS (SELECT * FROM transactions WHERE sender_bank = 'drill-1' ORDER BY id DESC LIMIT 2),
     gone AS (DELETE FROM transactions WHERE id = (SELECT max(id::text)::uuid FROM paid))
INSERT INTO transactions (
    id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference
)
SELECT gen_random_uuid(), batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency,
       reference
FROM paid WHERE id = (SELECT min(id::text)::uuid FROM paid)
"""
"""Of the two newest payments the newer one is gone, and the other one is there twice."""
NEWEST_ACCOUNT = "SELECT account FROM accounts WHERE bank = 'drill-1' ORDER BY opened_at DESC LIMIT 1"


def test_what_is_lost_and_what_is_doubled_is_counted(drilled: Drilled, tmp_path: Path) -> None:
    """After this the database of this Polka is wrong."""

    log = tmp_path / "drill"
    with started(log, "drill", "api", *drilled.words) as drilling:
        running = wait_for("it has paid, and kills", lambda: is_after(drilled.told()["running"]))
        refused(drilled.post(json={"target": "cache"}), 409, "conflict")
        ((account,),) = fetch(drilled.database_url, NEWEST_ACCOUNT)
        asyncio.run(execute(drilled.database_url, TAMPER))
        asyncio.run(
            execute(drilled.database_url, f"UPDATE accounts SET balance = balance + 7 WHERE account = '{account}'")
        )
        assert drilling.wait(WAIT_SECONDS) == 1
    assert "1 lost, 1 duplicated, 0 stored without acknowledgement.\n" in log.read_text()
    latest = drilled.told()["results"][0]
    assert latest["id"] == running["id"]
    assert latest["is_good"] is False
    assert [words.split(":")[0] for words in latest["findings"]["wrong_balances"]] == [f"drill-1 {account}", "drill-1"]


LOSSY = (
    "ALTER SYSTEM SET synchronous_commit = off",
    "ALTER SYSTEM SET wal_writer_delay = '10s'",
    "ALTER SYSTEM SET wal_writer_flush_after = '1GB'",
    "SELECT pg_reload_conf()",
)
"""What is committed is on its way for seconds, and a start of Polka would refuse this."""


def test_a_database_that_loses_what_it_has_confirmed_is_found_out(drilled: Drilled) -> None:
    """The last test of this Polka, which knows of what its database does not."""
    for statement in LOSSY:
        asyncio.run(execute(drilled.database_url, statement))
    assert polka("drill", "postgres", *drilled.words).returncode == 1
    latest = drilled.told()["results"][0]
    assert latest["target"] == "postgres"
    assert latest["is_good"] is False
    assert latest["findings"]["lost"] > 0, latest


def is_after(running: dict[str, Any] | None) -> dict[str, Any] | None:
    return running if running and running["step"] == "after" else None


def test_a_database_of_the_users_own_is_not_killed_and_a_stop_ends_a_drill(tmp_path: Path, database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=database_url) as running:
        drilled = Drilled(running, database_url, bearer(KEY))
        assert drilled.told()["targets"] == ["cache", "api"]
        said = one_line(polka("drill", "postgres", *drilled.words))
        assert said == "This Polka is on a database of your own, which is not killed here."
        assert drilled.post(json={"target": "cache"}).status_code == 202
        wait_for("it pays", lambda: drilled.told()["running"]["acknowledged_before"])
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WAIT_SECONDS) == 0
        assert "Traceback" not in running.said()
    keys = fetch(database_url, "SELECT revoked_at IS NULL FROM api_keys WHERE name LIKE 'drill-%'")
    assert keys == [(False,)]


@pytest.mark.anyio
@pytest.mark.parametrize("line", [b"", b"\n", b"POST /drills HTTP/1.1\r\n", b'{"token": "wrong", "drill": "cache"}\n'])
async def test_an_order_that_is_none_or_has_not_the_token_is_not_obeyed(tmp_path: Path, line: bytes) -> None:
    obeyed: list[Target | None] = []

    def obey(target: Target | None) -> Answer:
        obeyed.append(target)
        return Answer(Drills([], None, []))

    path = tmp_path / "socket"
    async with control.listen(path, "right", obey):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert obeyed == []
        await control.ask(str(path), "right", Target.API)
    assert obeyed == [Target.API]


def test_a_polka_up_that_does_not_answer_is_said(services: Services, tmp_path: Path) -> None:
    api = services.api(POLKA_CONTROL_SOCKET=str(tmp_path / "nobody"), POLKA_CONTROL_TOKEN="some token").ready()
    refused(client.get(f"{api.url}/drills"), 503, "control_away")


COUNTS = st.integers(0, 20)


@given(kept=COUNTS, lost=COUNTS, doubled=COUNTS, unacknowledged=COUNTS, waiting=COUNTS, strange=COUNTS)
def test_a_comparison_counts_each_kind(
    kept: int, lost: int, doubled: int, unacknowledged: int, waiting: int, strange: int
) -> None:
    told = kept + lost + doubled
    payments = [
        Payment(
            f"k{number}",
            ("a", "1"),
            ("b", "1"),
            5,
            str(uuid4()) if number < told else None,
            is_before_kill=number % 2 == 0,
        )
        for number in range(told + unacknowledged + waiting)
    ]
    stored = [
        (str(payment.id), payment.key) for payment in payments[:told] if payment not in payments[kept : kept + lost]
    ]
    stored += [(str(uuid4()), payment.key) for payment in payments[kept + lost : told + unacknowledged]]
    stored += [(str(uuid4()), f"strange {number}") for number in range(strange)]
    findings = compare(payments, stored, [])
    assert findings.lost == lost
    assert findings.doubled == doubled
    assert findings.unacknowledged == unacknowledged + strange
    assert findings.stored_before + findings.stored_after == kept + doubled
    assert findings.are_good == (not (lost or doubled or unacknowledged or strange))


def test_a_payment_that_is_stored_under_another_id_is_lost_and_one_too_many() -> None:
    findings = compare([Payment("k", ("a", "1"), ("b", "1"), 5, "right")], [("wrong", "k")], [])
    assert (findings.lost, findings.doubled) == (1, 0)
    assert not findings.are_good


def test_what_acknowledged_payments_come_to_and_what_differs_from_it() -> None:
    one, other = ("a", "1"), ("b", "1")
    payments = [
        Payment("1", one, other, 10, "x", fee=1),
        Payment("2", other, one, 3, "y"),
        Payment("3", one, other, 99),
    ]
    assert balances(payments) == {one: -8, other: 7}
    assert differences(balances(payments), {one: -8, other: 7}, "USD") == []
    assert differences(balances(payments), {one: -8, ("c", "1"): 2}, "USD") == [
        "b 1: 0.00 USD instead of 0.07 USD",
        "c 1: 0.02 USD instead of 0.00 USD",
    ]


@pytest.mark.parametrize(
    ("count", "lines"),
    [
        (0, ["0 payments took longer than a second, the longest 0.50 s.", "0 requests were sent again."]),
        (1, ["1 payment took longer than a second, the longest 0.50 s.", "1 request was sent again."]),
        (1200, ["1,200 payments took longer than a second, the longest 0.50 s.", "1,200 requests were sent again."]),
    ],
)
def test_a_drill_counts_in_plain_english(count: int, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    done = Drill(
        id=1,
        target=Target.API,
        process="api-1",
        step=Step.ENDED,
        started_at=at,
        killed_at=at,
        ended_at=at,
        acknowledged_before=1,
        acknowledged_after=1,
        waiting=0,
        repeated=count,
        refused=0,
        late=count,
        longest_wait_seconds=0.5,
        first_answer_seconds=0.1,
        ready_seconds=0.1,
        findings=None,
        failure=None,
        is_good=True,
    )
    show_drill(done)
    assert capsys.readouterr().out.splitlines()[-3:-1] == lines


def test_the_first_answer_is_the_first_to_what_was_asked_after_the_kill() -> None:
    record = Record()
    record.payments = [Payment(str(number), ("a", "1"), ("b", "1"), 5) for number in range(3)]
    asked_before, repeated, quick = record.payments
    record.killed_at = 10.0
    record.acknowledge(asked_before, "x", 0, began=9.9, asked=9.9, now=10.1)
    assert record.first_answer_at is None
    record.acknowledge(repeated, "y", 0, began=9.8, asked=11.9, now=12.0)
    record.acknowledge(quick, "z", 0, began=12.0, asked=12.0, now=12.1)
    assert record.since_kill(record.first_answer_at) == 2.0
    assert record.late == 1
    assert record.longest_wait_seconds == pytest.approx(2.2)
    assert record.acknowledged_before == 0
