"""Reads end: each has a deadline, a bounded queue, and a statement that ends with it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from databases import execute
from front_door import fetch, refused
from locks import Locked
from services import Service, Services, client, payment, wait_for

ACTIVE = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name IN ('polka api', 'polka api search') AND state = 'active'"
)
READS = {
    "/transaction": "transactions",
    "/transaction?idempotency_key=x": "idempotency_keys",
    "/transaction/00000000-0000-0000-0000-000000000000": "transactions",
    "/transaction/00000000-0000-0000-0000-000000000000/history": "transactions",
    "/transactions": "transactions",
    "/banks": "banks",
    "/banks/bank1/accounts": "banks",
    "/clearing": "windows",
    "/clearing/1": "windows",
    "/liquidity": "liquidity_history",
    "/liquidity/history?currency=USD": "liquidity_history",
    "/rates": "rate_sets",
    "/convert?from=USD&to=JPY&amount=5": "rate_sets",
    "/keys": "api_keys",
    "/audit": "audit_runs",
}
EXCLUSIVE = "ACCESS EXCLUSIVE"
SLOW = "ALTER TABLE windows RENAME TO kept; CREATE VIEW windows AS SELECT kept.* FROM kept, pg_sleep(300)"


@pytest.fixture
def api(services: Services) -> Service:
    """An api whose statements may take as long as they like, with one connection for reads and two places to wait."""
    return services.api(
        POLKA_COMMIT_TIMEOUT_SECONDS="600", POLKA_DATABASE_POOL_SIZE="1", POLKA_QUEUE_READS_MAX="2"
    ).ready()


def test_every_read_has_the_deadline_that_its_caller_names(services: Services) -> None:
    api = services.api().ready()
    for path, table in READS.items():
        with Locked(services.database_url, table, EXCLUSIVE):
            for name in ("query", "head"):
                began = time.monotonic()
                headers = {"Request-Timeout": "200ms"} if name == "head" else {}
                timeout = ("&" if "?" in path else "?") + "timeout=200ms" if name == "query" else ""
                refused(client.get(api.url + path + timeout, headers=headers), 504, "timeout")
                assert time.monotonic() - began < 4, "how long a statement would wait for the lock"
        assert client.get(api.url + path).status_code in (200, 404), path
    for path in (*READS, "/hello", "/schema/openapi.json", "/console"):
        wrong = client.get(api.url + path, headers={"Request-Timeout": "soon"})
        assert refused(wrong, 400, "invalid")["field"] == "Request-Timeout"


def test_a_read_that_is_cut_off_ends_on_the_server_too(services: Services, api: Service) -> None:
    asyncio.run(execute(services.database_url, SLOW))
    for _ in range(3):
        refused(client.get(f"{api.url}/clearing?timeout=300ms"), 504, "timeout")
    wait_for("no statement goes on", lambda: fetch(services.database_url, ACTIVE) == [(0,)])
    assert client.get(f"{api.url}/audit").status_code == 200, "its connection is free again"


def test_as_many_reads_wait_as_may_and_more_are_refused_at_once(services: Services, api: Service) -> None:
    asyncio.run(execute(services.database_url, SLOW))
    with ThreadPoolExecutor(8) as threads, httpx.Client(trust_env=False, verify=False, headers=client.headers) as own:

        def read() -> None:
            while own.get(f"{api.url}/clearing?timeout=300s", timeout=400).status_code == 503:
                """Its place was taken by the read that looks for a refusal."""

        for _ in range(3):
            threads.submit(read)
        try:
            answer = wait_for("one is refused", lambda: overloaded(api))
            assert refused(answer, 503, "overloaded")["detail"]
            assert answer.headers["retry-after"] == "1"
            paid = client.post(f"{api.url}/transaction", json=payment())
            assert paid.status_code == 201, "a payment waits for no read, not even the first one of a bank"
        finally:
            api.kill()


def overloaded(api: Service) -> httpx.Response | None:
    answer = client.get(f"{api.url}/clearing?timeout=100ms")
    return answer if answer.status_code == 503 else None


def test_a_write_that_is_not_done_in_time_has_an_unknown_outcome(services: Services) -> None:
    api = services.api().ready()
    with Locked(services.database_url, "banks"):
        refused(client.post(f"{api.url}/banks?timeout=300ms", json={"name": "late"}), 504, "outcome_unknown")
    wait_for("it was done", lambda: client.get(f"{api.url}/banks/late").status_code == 200)
