"""A service that is told to stop: its clients leave it one by one, and no request of theirs fails."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse

import httpx
import pytest

from front_door import fetch
from services import CACHE_TOKEN, KEY, Service, Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS

CLIENTS = 8
PATHS = {"api": "/hello", "cache": "/balance"}


def connected(service: Service) -> HTTPConnection:
    """A client that sends each request once, and keeps its connection for as long as it may."""
    port = httpx.URL(service.url).port
    assert port
    return HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)


def answer(connection: HTTPConnection, path: str = "/hello") -> HTTPResponse:
    connection.request("GET", path, headers=bearer(CACHE_TOKEN))
    response = connection.getresponse()
    response.read()
    return response


def draining(service: Service) -> httpx.Response | None:
    """How it says that it is not ready, once it does."""
    ready = client.get(f"{service.metrics_url}/health/ready")
    return None if ready.is_success else ready


@contextmanager
def silent(service: Service) -> Iterator[socket.socket]:
    """A connection over which nothing has been sent; the service has taken it, as it has a later one."""
    port = httpx.URL(service.url).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=WAIT_SECONDS) as opened:
        client_of_its_own = connected(service)
        assert answer(client_of_its_own, PATHS[service.name]).status == 200
        client_of_its_own.close()
        yield opened


@pytest.mark.parametrize("name", ["api", "cache"])
def test_a_draining_service_is_not_ready_and_ends_each_connection_with_its_next_answer(
    services: Services, name: str
) -> None:
    service = (services.api if name == "api" else services.cache)(POLKA_DRAIN_SECONDS="600").ready()
    idle = connected(service)
    assert not answer(idle, PATHS[name]).will_close
    with silent(service):  # it keeps the service from having drained
        service.send(signal.SIGTERM)
        ready = wait_for("it drains", lambda: draining(service))
        assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
        for connection in (idle, connected(service)):
            last = answer(connection, PATHS[name])
            assert (last.status, last.will_close) == (200, True)
    assert service.ended() == 0


def test_no_request_fails_while_clients_move_from_an_api_that_stops_to_another(services: Services) -> None:
    stopping, staying = services.api(POLKA_DRAIN_SECONDS="600").ready(), services.api().ready()
    sent, enough = threading.Semaphore(0), threading.Event()

    def pay() -> tuple[list[int], int]:
        """The status of each answer, and how many came from the api that stops."""
        connection, statuses, of_the_first = connected(stopping), [], 0
        while not enough.is_set():
            body, headers = json.dumps(payment()), {"Content-Type": "application/json", **bearer(KEY)}
            connection.request("POST", "/transaction", body, headers)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
            of_the_first += connection.port == httpx.URL(stopping.url).port
            if response.will_close:  # then whoever balances the load knows of the other one alone
                connection.close()
                connection = connected(staying)
            sent.release()
        connection.close()
        return statuses, of_the_first

    with ThreadPoolExecutor(CLIENTS) as threads:
        paying = [threads.submit(pay) for _ in range(CLIENTS)]
        try:
            take(sent, 20 * CLIENTS)
            stopping.send(signal.SIGTERM)
            assert stopping.ended() == 0
            take(sent, 20 * CLIENTS)
        finally:
            enough.set()
    results = [one.result() for one in paying]
    statuses = [status for answers, _ in results for status in answers]
    assert set(statuses) == {201}
    assert all(0 < of_the_first < len(answers) for answers, of_the_first in results), results
    assert fetch(services.database_url, "SELECT count(*) FROM transactions") == [(len(statuses),)]


def take(sent: threading.Semaphore, count: int) -> None:
    """Wait for this many payments."""
    for _ in range(count):
        assert sent.acquire(timeout=WAIT_SECONDS)


def test_a_connection_that_stays_silent_is_closed_at_the_end_of_the_drain(services: Services) -> None:
    api = services.api(POLKA_DRAIN_SECONDS="0.5").ready()
    with silent(api) as connection:
        api.send(signal.SIGTERM)
        assert connection.recv(1) == b""
    assert api.ended() == 0


def test_a_second_signal_ends_the_drain(services: Services) -> None:
    api = services.api(POLKA_DRAIN_SECONDS="600").ready()
    with silent(api):
        api.send(signal.SIGTERM)
        wait_for("it drains", lambda: draining(api))
        api.send(signal.SIGTERM)
        assert api.ended() == 0


def test_without_a_drain_a_service_stops_at_once_whoever_is_connected(services: Services) -> None:
    api = services.api().ready()
    with silent(api) as connection:
        api.send(signal.SIGTERM)
        assert connection.recv(1) == b""
        assert api.ended() == 0
