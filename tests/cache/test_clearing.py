"""Closing and settling windows through the front door, whatever becomes of the cache meanwhile."""

import asyncio
import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from cleared import Cleared, polka
from committed import commit, held, transfer
from databases import execute
from front_door import fetch, refused
from services import Services, bearer, client, wait_for
from wire import Fault, Wire, commit_after

NOTHING_MORE = {"fees": 0, "interest": 0}
SLOW = {"POLKA_FLUSH_SECONDS": "3600"}


@pytest.fixture
def cleared(services: Services) -> Cleared:
    return Cleared(services)


def test_what_is_committed_is_in_the_window_that_is_closed_then(cleared: Cleared) -> None:
    """Though no flush would have come for an hour; and what comes later is in the next one."""
    cleared.pay(100)
    cleared.pay(30, "bank2", "bank1")
    cleared.pay(7, currency="EUR")
    closed = cleared.close(1)
    assert closed.status_code == 200, closed.text
    assert closed.json() | {"state": "closed", "id": 1, "settled_at": None, "flush": 1} == closed.json()
    cleared.pay(5)
    assert cleared.close(2).json()["id"] == 2
    report = cleared.get("/1")
    assert {name: report[name] for name in closed.json()} == closed.json()
    assert report["totals"] == [
        {"bank": "bank1", "currency": "EUR", "debits": 7, "credits": 0, "count": 1, **NOTHING_MORE, "net": -7},
        {"bank": "bank1", "currency": "USD", "debits": 100, "credits": 30, "count": 2, **NOTHING_MORE, "net": -70},
        {"bank": "bank2", "currency": "EUR", "debits": 0, "credits": 7, "count": 1, **NOTHING_MORE, "net": 7},
        {"bank": "bank2", "currency": "USD", "debits": 30, "credits": 100, "count": 2, **NOTHING_MORE, "net": 70},
    ]
    assert cleared.nets(2) == {("bank1", "USD"): -5, ("bank2", "USD"): 5}
    assert [(window["id"], window["state"]) for window in cleared.get()["windows"]] == [
        *((3, "open"), (2, "closed"), (1, "closed"))
    ]
    cleared.audit_is_clean()


def test_a_window_is_closed_once(cleared: Cleared) -> None:
    first = cleared.close(1).json()
    assert cleared.close(1).json() == first
    assert cleared.get()["windows"][0]["id"] == 2
    problem = refused(cleared.close(3), 409, "conflict")
    assert problem["detail"] == "window: there is no window 3 yet; window 2 is open."
    settled = cleared.settle(1).json()
    assert cleared.close(1).json() == settled


def test_a_settled_window_has_brought_its_nets_to_zero_once(cleared: Cleared) -> None:
    cleared.pay(100)
    cleared.pay(40, "bank3", "bank1")
    problem = refused(cleared.settle(1), 409, "conflict")
    assert problem["detail"] == "Window 1 is open: it is settled once it is closed."
    cleared.close(1)
    cleared.pay(9)
    settled = cleared.settle(1).json()
    assert (settled["state"], settled["settled_at"] > settled["closed_at"]) == ("settled", True)
    assert cleared.settle(1).json() == settled
    assert cleared.nets(1) == {("bank1", "USD"): -60, ("bank2", "USD"): 100, ("bank3", "USD"): -40}
    wait_for("the cache is told of the latest", lambda: held(cleared.cache.url, "bank1") == (0, -9))
    assert [held(cleared.cache.url, bank) for bank in ("bank2", "bank3", "polka")] == [(0, 9), (0, 0), (0, 0)]
    cleared.close(2)
    assert held(cleared.cache.url, "bank1") == (-9, 0)
    accounts = client.get(f"{cleared.api.url}/banks/bank2/accounts").json()["accounts"]
    assert [(account["account"], account["balances"][0]["posted"]) for account in accounts] == [
        *(("B1", 109), ("polka:settlement", -100))
    ]
    cleared.audit_is_clean()


def test_a_window_without_nets_is_settled_without_entries(cleared: Cleared) -> None:
    cleared.pay(100)
    cleared.pay(100, "bank2", "bank1")
    cleared.close(1)
    assert cleared.settle(1).json()["settlement"] is None
    assert cleared.get("/1")["state"] == "settled"
    cleared.audit_is_clean()


def test_what_is_reversed_counts_in_the_window_that_is_open_then(cleared: Cleared) -> None:
    paid = cleared.pay(100)
    cleared.close(1)
    cleared.settle(1)
    client.delete(f"{cleared.api.url}/transaction/{paid}").raise_for_status()
    cleared.close(2)
    assert cleared.nets(1) == {("bank1", "USD"): -100, ("bank2", "USD"): 100}
    assert cleared.nets(2) == {("bank1", "USD"): 100, ("bank2", "USD"): -100}
    assert client.get(f"{cleared.api.url}/transaction/{paid}").json()["window"] == 2
    cleared.audit_is_clean()


def test_there_is_no_such_window(cleared: Cleared) -> None:
    for number in (2, 2**63 - 1, 2**63, 10**30):
        refused(cleared.settle(number), 404, "not_found")
        refused(client.get(f"{cleared.api.url}/clearing/{number}"), 404, "not_found")
    for body in ({"window": 0}, {"window": "1"}, {}, {"window": 1, "more": 1}, {"window": 2**63}):
        refused(client.post(f"{cleared.api.url}/clearing", json=body), 400, "invalid")


def test_pages_and_csv(cleared: Cleared) -> None:
    cleared.pay(100)
    for number in (1, 2, 3):
        cleared.close(number)
    page = cleared.get(limit=2)
    assert ([window["id"] for window in page["windows"]], page["cursor"], page["next"]) == ([4, 3], 3, 3)
    for name in ("cursor", "before"):
        other = cleared.get(limit=2, **{name: page["cursor"]})
        assert [window["id"] for window in other["windows"]] == [2, 1]
    url = f"{cleared.api.url}/clearing"
    told = client.get(f"{url}/1", params={"format": "csv"})
    assert told.headers["content-type"].startswith("text/csv")
    assert list(csv.reader(io.StringIO(told.text))) == [
        ["window", "bank", "currency", "debits", "credits", "count", "fees", "interest", "net"],
        ["1", "bank1", "USD", "100", "0", "1", "0", "0", "-100"],
        ["1", "bank2", "USD", "0", "100", "1", "0", "0", "100"],
    ]
    assert client.get(f"{url}/1", headers={"Accept": "text/csv"}).text == told.text
    assert "totals" in client.get(f"{url}/1", headers={"Accept": "text/csv"}, params={"format": "json"}).json()
    rows = list(csv.DictReader(io.StringIO(client.get(url, params={"format": "csv"}).text)))
    assert [(row["id"], row["state"], row["settled_at"]) for row in rows] == [
        *(("4", "open", ""), ("3", "closed", ""), ("2", "closed", ""), ("1", "closed", ""))
    ]


def test_a_closed_window_soon_tells_what_clearing_saves(services: Services) -> None:
    """Worked out after it is closed, and after a start where the cache was killed before."""
    cleared = Cleared(services, POLKA_FLUSH_SECONDS="0.1")
    for amount, sender, receiver in ((100, 1, 2), (100, 2, 3), (90, 3, 1), (4, 2, 1), (1000, 1, 1)):
        cleared.pay(amount, f"bank{sender}", f"bank{receiver}")
    deleted = cleared.pay(8, currency="EUR")
    client.delete(f"{cleared.api.url}/transaction/{deleted}").raise_for_status()
    assert cleared.get("/1")["netting"] is None
    cleared.close(1)
    expected = [
        {"currency": "EUR", "gross": 16, "bilateral": 0, "multilateral": 0, "saving": 16},
        {"currency": "USD", "gross": 294, "bilateral": 286, "multilateral": 10, "saving": 284},
    ]
    assert wait_for("it is netted", lambda: cleared.get("/1")["netting"]) == expected
    cleared.settle(1)
    asyncio.run(execute(cleared.database_url, "UPDATE windows SET is_netted = false; DELETE FROM window_netting"))
    cleared.cache.kill()
    cleared.cache.restart()
    assert wait_for("it is netted", lambda: cleared.get("/1")["netting"]) == expected
    cleared.close(2)
    wait_for("a window without payments is netted", lambda: cleared.get("/2")["netting"] == [])
    cleared.audit_is_clean()


def test_commands_close_settle_and_show_a_window(services: Services) -> None:
    cleared = Cleared(services, POLKA_FLUSH_SECONDS="0.1")
    cleared.pay(125_000)
    cleared.pay(100_000, "bank2", "bank1")
    cleared.pay(7, currency="EUR")
    assert "Operators see the saving by clearing soon" in polka(cleared, "show", "1").stdout
    assert polka(cleared, "close", "1").stdout.startswith("Window 1 is closed: opened 2")
    assert polka(cleared, "settle", "1").stdout.startswith("Window 1 is settled: opened 2")
    wait_for("it is netted", lambda: cleared.get("/1")["netting"])
    shown = polka(cleared, "show", "1")
    assert shown.stdout.splitlines()[1:] == [
        "bank   currency    debits   credits  count  fees  interest      net",
        "bank1  EUR           0.07      0.00      1  0.00      0.00    -0.07",
        "bank1  USD       1,250.00  1,000.00      2  0.00      0.00  -250.00",
        "bank2  EUR           0.00      0.07      1  0.00      0.00     0.07",
        "bank2  USD       1,000.00  1,250.00      2  0.00      0.00   250.00",
        "currency  payment by payment  pair by pair  cleared   saved",
        "EUR                     0.07          0.07     0.07   0.0 %",
        "USD                 2,250.00        250.00   250.00  88.8 %",
    ]
    refused = polka(cleared, "settle", "2")
    assert (refused.returncode, refused.stderr) == (
        *(1, "Error: Window 2 is open: it is settled once it is closed.\n"),
    )
    assert polka(cleared, "show", "7").stderr == "Error: There is no window 7.\n"
    cleared.api.kill()
    assert "does not answer" in polka(cleared, "close", "2").stderr


def test_a_banks_key_sees_its_own_totals_alone(cleared: Cleared) -> None:
    cleared.pay(100)
    cleared.close(1)
    made = client.post(f"{cleared.api.url}/keys", json={"name": "one", "bank": "bank1"}).json()
    report = client.get(f"{cleared.api.url}/clearing/1", headers=bearer(made["key"])).json()
    assert [total["bank"] for total in report["totals"]] == ["bank1"]
    assert report["netting"] is None


def test_without_a_cache_nothing_is_done_and_that_is_said(cleared: Cleared) -> None:
    cleared.close(1)
    cleared.cache.kill()
    for response in (cleared.close(2), cleared.settle(1)):
        refused(response, 503, "cache_away")
        assert response.headers["retry-after"] == "1"
    assert [window["state"] for window in cleared.get()["windows"]] == ["open", "closed"]
    cleared.cache.restart()
    assert cleared.settle(1).json()["state"] == "settled"


SLOW_FLUSHES = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE TRIGGER slow BEFORE UPDATE ON flush FOR EACH STATEMENT EXECUTE FUNCTION slow();
"""


@contextmanager
def under_load(database_url: str) -> Iterator[None]:
    """Commit some batches a second: more than the slow flushes can post one by one."""
    is_over = threading.Event()

    async def commit_on() -> None:
        connection = await asyncpg.connect(database_url)
        while not is_over.is_set():
            await commit(connection, transfer(1))
            await asyncio.sleep(0.2)
        await connection.close()

    thread = threading.Thread(target=lambda: asyncio.run(commit_on()))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("payments_max", ["5000", "1"], ids=["each flush is slow", "each flush leaves a batch"])
def test_a_window_is_closed_and_settled_while_flushes_take_all_the_time(services: Services, payments_max: str) -> None:
    cleared = Cleared(services, POLKA_FLUSH_SECONDS="0.1", POLKA_FLUSH_PAYMENTS_MAX=payments_max)
    asyncio.run(execute(services.database_url, SLOW_FLUSHES))
    with under_load(services.database_url):
        wait_for("payments are posted", lambda: held(cleared.cache.url, "bank1")[0] < 0)
        closed = wait_for("it is closed", lambda: (response := cleared.close(1)).is_success and response).json()
        settled = wait_for("it is settled", lambda: (response := cleared.settle(1)).is_success and response).json()
    assert (closed["state"], settled["state"]) == ("closed", "settled")


@pytest.mark.parametrize("step", ["close", "settle"])
def test_what_a_frozen_cache_does_later_is_told_as_unknown_and_done_once(cleared: Cleared, step: str) -> None:
    cleared.pay(100)
    if step == "settle":
        cleared.close(1)
    do = cleared.close if step == "close" else cleared.settle
    with cleared.cache.frozen():
        refused(do(1), 503, "outcome_unknown")
    assert do(1).status_code == 200
    assert len(cleared.get()["windows"]) == 2
    cleared.settle(1)
    assert held(cleared.cache.url, "bank1") == (0, 0)
    cleared.audit_is_clean()


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
@pytest.mark.parametrize("step", ["close", "settle"])
def test_a_connection_lost_at_the_commit_leaves_it_done_once(
    services: Services, wire: Wire, step: str, fault: Fault
) -> None:
    """Lost before the COMMIT, after it, or with a backend that lives on and commits later."""
    direct, services.database_url = services.database_url, wire.url
    cleared = Cleared(services, POLKA_AUDIT_SECONDS="0")  # an audit commits, too
    cleared.pay(100)
    if step == "settle":
        cleared.close(1)
    do, state = (cleared.close, "closed") if step == "close" else (cleared.settle, "settled")
    wire.arm(fault, commit_after(f"SET state = '{state}'".encode()))
    refused(do(1), 503, "outcome_unknown")
    if fault is Fault.DELAY:
        wire.release()
    done = wait_for("it is done", lambda: (response := do(1)).is_success and response).json()
    assert done["state"] == state
    assert cleared.settle(1).json()["state"] == "settled"
    assert fetch(direct, "SELECT id, state FROM windows ORDER BY id") == [(1, "settled"), (2, "open")]
    assert held(cleared.cache.url, "bank1") == (0, 0)
    cleared.audit_is_clean()
