"""Metrics and health: on a port of their own, at a bounded cost; ready means that a payment can be committed."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from databases import execute
from exposed import read
from front_door import refused
from locks import Locked, until_waiting
from polka.edge import monitoring
from polka.edge.monitoring import PATHS
from polka.edge.server import listen_for_all
from polka.local import postgres
from polka.service.failure import Failure
from running import Running
from services import KEY, Service, Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Wire

SOURCE = Path(__file__).parents[2] / "src"
READS = 20


def status(service: Service) -> tuple[int, str]:
    ready = client.get(f"{service.metrics_url}/health/ready")
    return ready.status_code, ready.json()["status"]


def test_a_client_is_told_where_metrics_and_health_are(polka: Running) -> None:
    for path in PATHS:
        answer = httpx.get(f"{polka.url}{path}", trust_env=False, verify=False, timeout=WAIT_SECONDS)
        assert "POLKA_METRICS_PORT" in refused(answer, 404, "not_found")["detail"]
        assert (
            httpx.get(f"{polka.metrics_url}{path}", trust_env=False, verify=False, timeout=WAIT_SECONDS).status_code
            == 200
        )


def test_the_second_port_answers_nothing_else(polka: Running) -> None:
    for url in (polka.metrics_url, polka.cache.metrics_url):
        for path in ("/hello", "/banks", "/balance", "/console", "/schema", "/transaction"):
            assert client.get(f"{url}{path}").status_code == 404, path
        assert client.post(f"{url}/transaction", json=payment()).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "metrics.example:8001"}, 403),
        ({"Host": "localhost.example"}, 403),
        ({"Origin": "http://pages.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "localhost:8001"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8001"}, 200),
        ({}, 200),
    ],
)
def test_metrics_are_not_for_pages_of_other_sites(polka: Running, headers: dict[str, str], status: int) -> None:
    """A page may have its own name lead to this machine. Probes read nothing, and may use any name."""
    for url in (polka.metrics_url, polka.cache.metrics_url):
        assert client.get(f"{url}/metrics", headers=headers).status_code == status
        for path in ("/health/live", "/health/ready"):
            assert client.get(f"{url}{path}", headers=headers).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(("address", "status"), [("10.1.2.3", 200), ("[fd00::1]", 200), ("127.0.0.1", 403)])
async def test_metrics_that_are_asked_for_from_elsewhere_may_have_any_name(address: str, status: int) -> None:
    """Prometheus in a cluster connects to the address of a pod, or by a Service's name."""
    app: Any = monitoring.app(lambda: None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{address}") as asking:
        answer = await asking.get("/metrics", headers={"Host": "polka-api-metrics.polka.svc:9090"})
        assert answer.status_code == status


def test_a_page_of_metrics_is_rendered_at_most_once_a_second_for_all_who_ask(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed = services.cache(PYTHONPATH=str(SOURCE)).ready()  # forked services render more often
    rendered = itertools.count()
    monkeypatch.setattr(monitoring, "generate_latest", lambda: next(rendered))
    page = monitoring.Page()
    ends_at = time.monotonic() + 2.5
    while time.monotonic() < ends_at:
        page.content()
    assert next(rendered) == 3
    began = time.monotonic()
    pages = {read(executed.metrics_url) for _ in range(20)}
    assert len(pages) <= time.monotonic() - began + 2


@contextlib.contextmanager
def readers_held_up(service: Service, database_url: str) -> Iterator[None]:
    """While the block runs, reads use up all connections that are for reads: they wait for a table."""
    is_over = threading.Event()
    with (
        ThreadPoolExecutor(READS) as threads,
        httpx.Client(headers=bearer(KEY), trust_env=False, verify=False, timeout=WAIT_SECONDS) as reader,
        Locked(database_url, "windows", "ACCESS EXCLUSIVE"),
    ):

        def read() -> None:
            while not is_over.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    reader.get(f"{service.url}/clearing")  # ends after some seconds, and is made again

        for _ in range(READS):
            threads.submit(read)
        try:
            asyncio.run(until_waiting(database_url, 4))
            yield
        finally:
            is_over.set()


def test_reads_that_hang_leave_an_api_ready_because_payments_go_on(services: Services) -> None:
    api = services.api().ready()
    assert client.post(f"{api.url}/transaction", json=payment()).status_code == 201  # now its banks are known
    with readers_held_up(api, services.database_url):
        assert status(api) == (200, "ready")
        assert client.post(f"{api.url}/transaction", json=payment()).status_code == 201


def test_an_api_whose_database_only_reads_is_not_ready_until_it_writes_again(
    server: postgres.Server, services: Services
) -> None:
    api = services.api().ready()
    assert client.get(f"{api.url}/transactions").status_code == 200  # so that there is a reader's session
    name = services.database_url.partition("?")[0].rpartition("/")[2]
    read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = %s"
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'polka api %writer'"
    for statement in (read_only % "on", cut):
        asyncio.run(execute(server.url, statement))
    wait_for("it is not ready", lambda: status(api) == (503, "the database does not take payments"))
    assert client.get(f"{api.url}/transactions").status_code == 200
    asyncio.run(execute(server.url, read_only % "off"))
    api.ready()
    assert client.post(f"{api.url}/transaction", json=payment()).status_code == 201


def test_asking_whether_an_api_is_ready_asks_the_database_nothing(services: Services, wire: Wire) -> None:
    """With the database away each probe is answered at once, and the lanes are looked at as often as without any."""
    services.database_url = wire.url
    api = services.api(POLKA_KEYS_POLL_SECONDS="1000").ready()
    before, began = wire.messages, time.monotonic()
    for _ in range(300):
        assert status(api) == (200, "ready")
    seconds = time.monotonic() - began
    assert wire.messages - before < 20 + 20 * seconds
    wire.refuse()
    wire.cut()
    wait_for("it is not ready", lambda: status(api) == (503, "the database does not take payments"))
    wire.accept()
    api.ready()


def test_a_port_of_metrics_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLKA_METRICS_PORT", "9001")
    with pytest.raises(Failure, match=r"^POLKA_METRICS_PORT is 9001, which is the port of the service itself\.$"):
        listen_for_all("127.0.0.1", 9001)
    monkeypatch.delenv("POLKA_METRICS_PORT")
    with pytest.raises(Failure, match=r"^POLKA_METRICS_PORT is not set, and there is no port after 65535\.$"):
        listen_for_all("127.0.0.1", 65_535)
