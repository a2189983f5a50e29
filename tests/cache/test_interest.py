"""Interest: what accrues on balances, to the microsecond and the last fraction, and is booked once for each window."""

import asyncio
from datetime import timedelta
from fractions import Fraction
from typing import Any

import asyncpg
import httpx
import pytest

from cache.ledger import flush
from cleared import Cleared, polka
from committed import commit, held, transfer
from databases import execute
from falsehoods import AGREE, IN_INTEREST, bear_interest
from front_door import fetch
from locks import until_waiting
from polka.audit import snapshot
from proof import clean_audit, prove
from services import Services, client, payment, wait_for
from wire import Fault, Wire, commit_after


class Bearing(Cleared):
    """An api and a cache over a database in which time passes when a test says so."""

    def agree(self, bank: str, **interest: Any) -> None:
        client.patch(f"{self.api.url}/banks/{bank}", json={"interest": interest}).raise_for_status()

    def post(self, amount: int, sender: str = "bank1", receiver: str = "bank2", currency: str = "USD") -> None:
        """Pay, and wait until it is posted."""
        url = f"{self.api.url}/transaction/{self.pay(amount, sender, receiver, currency)}"
        wait_for("it is posted", lambda: client.get(url).json()["window"])

    def let_pass(self, days: int) -> None:
        """Move all that has happened into the past."""
        passed = "; ".join(
            f"UPDATE {table} SET {column} = {column} - interval '{days} days'"
            for table, column in (
                ("batches", "posted_at"),
                ("windows", "opened_at"),
                ("windows", "closed_at"),
                ("bank_terms", "in_force_from"),
                ("interest_accruals", "accrued_until"),
            )
        )
        asyncio.run(execute(self.database_url, passed))

    def interest(self, window: int) -> dict[tuple[str, str], int]:
        totals = self.get(f"/{window}")["totals"]
        return {(total["bank"], total["currency"]): total["interest"] for total in totals if total["interest"]}


@pytest.fixture
def bearing(services: Services) -> Bearing:
    return Bearing(services, POLKA_FLUSH_SECONDS="0.1")


def test_what_accrues_is_booked_when_a_window_is_closed(bearing: Bearing) -> None:
    """At 10 % a day of 360 dollars is 10 cents. Seconds that the test takes are far less than half a cent."""
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.agree("bank2", USD={"debit_basis_points": 500, "credit_basis_points": 500})
    bearing.post(36_000)
    bearing.let_pass(3)
    closed = bearing.close(1).json()
    assert bearing.interest(1) == {("bank1", "USD"): -30, ("bank2", "USD"): 15, ("polka", "USD"): 15}
    assert bearing.nets(1) == {("bank1", "USD"): -36_030, ("bank2", "USD"): 36_015, ("polka", "USD"): 15}
    assert closed["interest_batch"]
    assert bearing.close(1).json() == closed
    assert held(bearing.cache.url, "bank1") == (-36_030, 0)
    accounts = client.get(f"{bearing.api.url}/banks/bank1/accounts").json()["accounts"]
    assert [(account["account"], account["balances"][0]["posted"]) for account in accounts] == [
        *(("A1", -36_000), ("polka:interest", -30))
    ]
    assert fetch(bearing.database_url, "SELECT account, balance FROM accounts WHERE bank = 'polka'") == [
        ("interest", 15)
    ]
    wait_for("it is netted", lambda: bearing.get("/1")["netting"])
    bearing.audit_is_clean()
    shown = polka(bearing, "show", "1").stdout.splitlines()
    assert shown[1:4] == [
        "bank   currency  debits  credits  count  fees  interest      net",
        "bank1  USD       360.30     0.00      2  0.00     -0.30  -360.30",
        "bank2  USD         0.00   360.15      2  0.00      0.15   360.15",
    ]
    settled = bearing.settle(1)
    assert settled.json()["state"] == "settled"
    assert [held(bearing.cache.url, bank) for bank in ("bank1", "bank2", "polka")] == [(0, 0)] * 3
    bearing.audit_is_clean()


def test_a_rate_holds_from_its_change_on(bearing: Bearing) -> None:
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.post(36_000)
    bearing.let_pass(2)
    bearing.agree("bank1", USD={"debit_basis_points": 2000})
    bearing.let_pass(5)
    bearing.agree("bank1", USD=None)
    bearing.let_pass(100)
    bearing.close(1)
    assert bearing.interest(1)["bank1", "USD"] == -120
    bearing.audit_is_clean()


def test_a_killed_cache_loses_no_interest(bearing: Bearing) -> None:
    """Neither what accrued while it ran nor what does while none runs; also where rates change meanwhile."""
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.post(36_000)
    bearing.let_pass(1)
    bearing.cache.kill()
    bearing.let_pass(1)
    bearing.agree("bank1", USD={"debit_basis_points": 2000})
    bearing.let_pass(1)
    bearing.pay(36_000)
    bearing.cache.restart()
    wait_for("it is posted", lambda: held(bearing.cache.url, "bank1") == (-72_000, 0))
    bearing.let_pass(1)
    bearing.cache.kill()
    bearing.cache.restart()
    bearing.close(1)
    assert bearing.interest(1)["bank1", "USD"] == -(10 + 10 + 20 + 40)
    bearing.audit_is_clean()


def test_the_next_window_bears_interest_on_what_is_left(bearing: Bearing) -> None:
    """What was booked bears interest from then on, and what was settled no more."""
    bearing.agree("bank1", USD={"debit_basis_points": 100_000})
    bearing.post(36_000)
    bearing.let_pass(10)
    bearing.close(1)
    assert bearing.interest(1)["bank1", "USD"] == -10_000
    bearing.let_pass(9)
    bearing.settle(1)
    bearing.let_pass(30)
    bearing.post(360, "bank1", "bank3")
    bearing.let_pass(2)
    bearing.close(2)
    assert bearing.interest(2)["bank1", "USD"] == -(46_000 * 9 // 36 + 20)
    bearing.let_pass(2)
    bearing.close(3)
    assert bearing.interest(3)["bank1", "USD"] == -round(Fraction((360 + 11_520) * 2, 36))
    bearing.audit_is_clean()


def test_a_window_that_is_closed_by_schedule_bears_interest(services: Services) -> None:
    """And is settled with it; the cache knows at once what it has booked."""
    bearing = Bearing(services, POLKA_FLUSH_SECONDS="0.1")
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.post(36_000)
    bearing.let_pass(3)
    bearing.cache.kill()
    cache = services.another_cache(POLKA_CLEARING_SCHEDULE="* * * * * *", POLKA_FLUSH_SECONDS="0.1").ready()
    wait_for("it is settled", lambda: bearing.get("/1")["state"] == "settled")
    assert bearing.interest(1)["bank1", "USD"] == -30
    assert held(cache.url, "bank1") == (0, 0)
    wait_for("another is closed", lambda: bearing.get("/2")["state"] == "settled")
    cache.kill()
    prove(bearing.database_url)


def test_without_interest_nothing_is_booked(bearing: Bearing) -> None:
    bearing.post(36_000)
    bearing.agree("bank1", EUR={"debit_basis_points": 1000})
    bearing.let_pass(10)
    assert bearing.close(1).json()["interest_batch"] is None
    assert bearing.interest(1) == {}
    bearing.audit_is_clean()


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
def test_a_connection_lost_at_the_closing_books_interest_once(services: Services, wire: Wire, fault: Fault) -> None:
    direct, services.database_url = services.database_url, wire.url
    bearing = Bearing(services, POLKA_FLUSH_SECONDS="0.1", POLKA_AUDIT_SECONDS="0")  # an audit commits, too
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.post(36_000)
    bearing.let_pass(3)
    wire.arm(fault, commit_after(b"SET state = 'closed'"))
    assert bearing.close(1).status_code == 503
    if fault is Fault.DELAY:
        wire.release()

    def closes() -> httpx.Response | bool:
        response = bearing.close(1)
        return response.is_success and response

    wait_for("it is closed", closes)
    assert bearing.interest(1)["bank1", "USD"] == -30
    wait_for("the cache is back", lambda: held(bearing.cache.url, "bank1") == (-36_030, 0))
    booked = "SELECT count(*) FROM batches WHERE payload::text LIKE '%polka:interest%'"
    assert fetch(direct, booked) == [(1,)]
    bearing.audit_is_clean()


ACCRUED = "SELECT debit, accrued_until FROM interest_accruals"


@pytest.mark.anyio
async def test_a_flush_waits_for_a_change_of_rates_that_is_under_way(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """It took its time before the flush did: from then on the new rate holds."""
    await commit(connection, transfer(36_000))
    await flush.flush(connection, 0, 1, 100)
    changing = await asyncpg.connect(database_url)
    await changing.execute(f"BEGIN; {AGREE}")
    await commit(connection, transfer(36_000))
    flushing = asyncio.create_task(flush.flush(connection, 0, 2, 100))
    await until_waiting(database_url)
    await changing.execute("COMMIT")
    flushed = await flushing
    since = await changing.fetchval("SELECT in_force_from FROM bank_terms")
    assert since < flushed.at
    [row] = await changing.fetch(ACCRUED)
    assert row["debit"] == 36_000 * 1000 * ((flushed.at - since) // timedelta(microseconds=1))
    assert row["accrued_until"] == flushed.at
    await clean_audit(database_url)
    await changing.close()


@pytest.mark.anyio
async def test_a_flush_of_banks_without_interest_accrues_nothing(connection: asyncpg.Connection) -> None:
    asked: list[str] = []
    connection.add_query_logger(lambda record: asked.append(record.query))
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 1, 100)
    assert not [query for query in asked if "accrued_until" in query]
    await connection.execute(AGREE)
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 2, 100)
    assert [query for query in asked if "accrued_until" in query]


@pytest.mark.anyio
@pytest.mark.parametrize(("statement", "check"), IN_INTEREST.values(), ids=IN_INTEREST.keys())
async def test_the_audit_finds_each_falsehood_about_interest(
    database_url: str, connection: asyncpg.Connection, statement: str, check: str
) -> None:
    await bear_interest(connection)
    assert await connection.fetchval("SELECT interest FROM window_totals WHERE bank = 'bank1' AND window_id = 1") == -30
    await clean_audit(database_url)
    await connection.execute(statement)
    assert (await snapshot.audit(database_url)).differences[check]


def test_payments_are_as_before(bearing: Bearing) -> None:
    """Interest is not a payment: nobody finds it among transactions, or amends it."""
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.post(36_000)
    bearing.let_pass(3)
    batch = bearing.close(1).json()["interest_batch"]
    found = client.get(f"{bearing.api.url}/transactions", params={"bank": "bank1"}).json()["transactions"]
    assert [one["amount"] for one in found] == [36_000]
    assert batch not in [one["batch"] for one in found]
    assert client.post(f"{bearing.api.url}/transaction", json=payment(1)).is_success


def test_the_audit_runs_beside_a_cache(bearing: Bearing) -> None:
    bearing.agree("bank1", USD={"debit_basis_points": 1000})
    bearing.post(36_000)
    prove(bearing.database_url, bearing.cache.url)
