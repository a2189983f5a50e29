"""Under steady capped load: whoever has to get through does, and from its answer on a change of the policy holds."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from front_door import fetch
from services import KEY, Service, Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS
from whole import Transport

CLIENTS = 8
QUICK = {"POLKA_FLUSH_SECONDS": "0.2"}
SLOW_COMMITS = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN NULL; END $$;
CREATE TRIGGER dawdle AFTER INSERT ON batches FOR EACH STATEMENT EXECUTE FUNCTION dawdle();
"""
"""So that there is always a commit in flight that holds the policy and the epoch."""


class Load:
    """What became of the payments so far, by code and api."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.told: list[tuple[str, str]] = []

    def count(self, code: str, url: str | None = None) -> int:
        return sum(1 for told in list(self.told) if told[0] == code and url in (None, told[1]))


@contextmanager
def capped_load(apis: list[Service]) -> Iterator[Load]:
    """Clients that pay from bank1 through both apis as fast as they can, while the block runs."""
    load = Load()

    def pay(api: Service) -> None:
        with httpx.Client(transport=Transport(), headers=bearer(KEY), timeout=WAIT_SECONDS) as http:
            while not load.is_over.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    answer = http.post(f"{api.url}/transaction", json=payment(1)).json()
                    load.told.append((answer.get("code", "accepted"), api.url))

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(pay, apis[number % len(apis)]) for number in range(CLIENTS)]
        try:
            yield load
        finally:
            load.is_over.set()
        for one in running:
            one.result()


def patch(api: Service, **terms: Any) -> None:
    client.patch(f"{api.url}/banks/bank1", json=terms, timeout=WAIT_SECONDS).raise_for_status()


def some_more(load: Load, code: str, apis: list[Service]) -> None:
    """Wait until each api has said this five times more."""
    before = {api.url: load.count(code, api.url) for api in apis}
    wait_for(f"more {code}", lambda: all(load.count(code, url) >= count + 5 for url, count in before.items()))


def execute(url: str, statement: str) -> float:
    """How long the statement takes, in seconds."""

    async def work() -> float:
        connection = await asyncpg.connect(url)
        began = time.monotonic()
        await connection.execute(statement)
        seconds = time.monotonic() - began
        await connection.close()
        return seconds

    return asyncio.run(work())


@pytest.fixture
def apis(services: Services) -> list[Service]:
    services.cache(**QUICK).ready()
    apis = [services.api().ready() for _ in range(2)]
    patch(apis[0], caps={"USD": 10**12})
    execute(services.database_url, SLOW_COMMITS)
    return apis


def test_a_change_of_the_policy_gets_through_within_a_second(services: Services, apis: list[Service]) -> None:
    with capped_load(apis) as load:
        some_more(load, "accepted", apis)
        for version in range(1, 6):
            statement = (
                f"SELECT polka_change_terms('bank1', {version}, '{{\"USD\": 1000000}}', 'no', '{{}}', '{{}}', 'x')"
            )
            assert execute(services.database_url, statement) < 1
            some_more(load, "accepted", apis)
    assert load.count("accepted") == len(load.told)


def test_a_raise_of_the_epoch_gets_through_within_a_second(services: Services, apis: list[Service]) -> None:
    [cache] = [service for service in services.started if service.name == "cache"]
    with capped_load(apis) as load:
        for _ in range(3):
            some_more(load, "accepted", apis)
            assert execute(services.database_url, "SELECT polka_raise_epoch()") < 1
            assert cache.ended() == 75
            cache.restart()
        some_more(load, "accepted", apis)
    assert load.count("accepted") + load.count("cap_unchecked") == len(load.told)


def test_two_caches_that_keep_taking_over_do_not_starve_the_capped_lane(
    services: Services, apis: list[Service]
) -> None:
    """Each is started again at once, as no supervisor should; apis know one of them."""
    [cache] = [service for service in services.started if service.name == "cache"]
    other = services.another_cache(**QUICK)
    with capped_load(apis) as load, ThreadPoolExecutor(2) as pool:

        def supervise(one: Service) -> int:
            takeovers = 0
            while not load.is_over.wait(0.05):
                if one.process.poll() is not None:
                    takeovers += 1
                    one.start()
            return takeovers

        supervised = [pool.submit(supervise, one) for one in (cache, other)]
        try:
            for _ in range(5):
                some_more(load, "accepted", apis)
                taken_over_twice(services)
        finally:
            load.is_over.set()
        assert all(one.result() >= 3 for one in supervised)


def taken_over_twice(services: Services) -> None:
    """Wait until the epoch was raised twice more."""

    def epoch() -> int:
        return int(fetch(services.database_url, "SELECT number FROM epoch")[0][0])

    before = epoch()
    wait_for("they take over", lambda: epoch() >= before + 2)


@pytest.mark.parametrize("lane", ["free", "capped"])
def test_from_its_answer_on_a_change_holds_everywhere(services: Services, apis: list[Service], lane: str) -> None:
    """No payment that was decided before commits after it, through whichever api."""
    if lane == "free":
        patch(apis[0], caps=None)
    stored = "SELECT count(*) FROM transactions"
    with capped_load(apis) as load:
        for number in range(6):
            some_more(load, "accepted", apis)
            patch(apis[number % 2], suspended="sending")
            committed = fetch(services.database_url, stored)
            some_more(load, "bank_suspended", apis)
            assert fetch(services.database_url, stored) == committed
            patch(apis[number % 2], suspended="no")
            assert client.post(f"{apis[0].url}/transaction", json=payment(1)).status_code == 201
            assert client.post(f"{apis[1].url}/transaction", json=payment(1)).status_code == 201
