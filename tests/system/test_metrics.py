"""The metrics of the services: what they show of themselves, of the ledger and of the database."""

import asyncio
import time
from collections.abc import Iterable

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.registry import Collector

from committed import commit, new_id, tell, transfer
from exposed import names, samples, value
from polka import __version__
from polka.service.background import background
from polka.service.counting import SECONDS, Counts, Histograms
from polka.service.metrics import LOOK_SECONDS, show_pool, watch_loop
from polka.store import database
from running import Running
from services import Services, client, payment, wait_for
from waiting import WAIT_SECONDS

pytestmark = pytest.mark.anyio

OF_ALL = {
    "polka_http_requests_total",
    "polka_http_request_seconds_bucket",
    "polka_event_loop_lag_seconds_bucket",
    "polka_pool_connections",
    "polka_pool_max_connections",
    "polka_build_info",
    "process_resident_memory_bytes",
    "python_gc_objects_collected_total",
}
OF_AN_API = {"polka_queue_payments", "polka_queue_max_payments", "polka_commit_seconds_bucket"}
OF_THE_CACHE = {
    "polka_pending_oldest_seconds",
    "polka_flush_batches_bucket",
    "polka_flush_number",
    "polka_flush_age_seconds",
    "polka_set_aside_batches",
    "polka_balance_minor_units",
    "polka_windows",
    "polka_window_open_seconds",
    "polka_database_connections",
    "polka_database_max_connections",
    "polka_database_size_bytes",
}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20) | st.sampled_from(SECONDS))))
def test_what_is_counted_lean_is_what_prometheus_client_counts(observed: list[tuple[str, float]]) -> None:
    own = CollectorRegistry()
    theirs = (
        Counter("polka_a", "A", ["x"], registry=own),
        Histogram("polka_b", "B", ["x"], buckets=SECONDS, registry=own),
    )
    ours = Counts("polka_a", "A", ["x"]), Histograms("polka_b", "B", ["x"])
    try:
        for counter, histogram in (theirs, ours):
            for label, seconds in observed:
                counter.labels(label).inc()
                histogram.labels(label).observe(seconds)
        assert shown(ours) == shown(theirs)
    finally:
        for one in ours:
            REGISTRY.unregister(one)


def shown(collectors: Iterable[Collector]) -> list[tuple[str, str, dict[str, str], float]]:
    found = [
        (family.documentation, sample.name, sample.labels, sample.value)
        for collector in collectors
        for family in collector.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    return sorted(found, key=str)


def test_each_service_shows_how_it_is(own_polka: Running) -> None:
    api, cache = own_polka.metrics_url, own_polka.cache.metrics_url
    assert client.post(f"{own_polka.url}/transaction", json=payment()).status_code == 201
    wait_for("the balances are shown", lambda: names(cache) >= OF_ALL | OF_THE_CACHE)
    assert names(api) >= OF_ALL | OF_AN_API
    for url in (api, cache):
        assert value(url, "polka_build_info", version=__version__) == 1
        wait_for("the event loop is looked at", lambda: value(url, "polka_event_loop_lag_seconds_count"))  # noqa: B023


def test_failures_are_counted_from_zero(own_polka: Running) -> None:
    """A rate begins with a count's second sample."""
    for status in ("500", "503", "504"):
        labels = {"method": "POST", "route": "/transaction", "status": status}
        assert value(own_polka.metrics_url, "polka_http_requests_total", **labels) == 0


def test_a_payment_shows_how_long_it_waited_and_what_the_cache_took(own_polka: Running) -> None:
    api = own_polka.metrics_url
    waits = value(api, "polka_queue_wait_seconds_count", lane="free") or 0
    capped = value(api, "polka_queue_wait_seconds_count", lane="capped") or 0
    for _ in range(3):
        assert client.post(f"{own_polka.url}/transaction", json=payment()).status_code == 201
    assert value(api, "polka_queue_wait_seconds_count", lane="free") == waits + 3
    assert 0 < (value(api, "polka_queue_wait_seconds_sum", lane="free") or 0) < 30
    assert value(api, "polka_queue_max_payments", lane="free") == 4096
    wait_for("the cache was told", lambda: value(api, "polka_balance_post_seconds_count"))

    assert client.patch(f"{own_polka.url}/banks/bank3", json={"caps": {"USD": 1000}}).status_code == 200
    assert client.post(f"{own_polka.url}/transaction", json=payment(sender="bank3")).status_code == 201
    assert value(api, "polka_queue_wait_seconds_count", lane="capped") == capped + 1
    assert (value(api, "polka_reservation_post_seconds_count") or 0) >= 1


def test_pools_show_what_is_used_of_them(own_polka: Running) -> None:
    api = own_polka.metrics_url
    assert client.get(f"{own_polka.url}/clearing").status_code == 200
    assert value(api, "polka_pool_max_connections", pool="api") == 4
    assert value(api, "polka_pool_max_connections", pool="api search") == 2
    in_use = value(api, "polka_pool_connections", pool="api", state="in_use")
    idle = value(api, "polka_pool_connections", pool="api", state="idle")
    assert 1 <= (in_use or 0) + (idle or 0) <= 4


async def test_a_connection_that_is_taken_shows_as_in_use_until_it_is_given_back(database_url: str) -> None:
    def in_use() -> float | None:
        return REGISTRY.get_sample_value("polka_pool_connections", {"pool": "tests", "state": "in_use"})

    async with database.pool(database_url, "tests", 2, 10) as pool:
        show_pool("tests", pool)
        async with pool.acquire():
            assert in_use() == 1
        assert in_use() == 0


async def test_an_event_loop_that_is_held_up_shows_for_how_long() -> None:
    def late_seconds() -> float:
        return REGISTRY.get_sample_value("polka_event_loop_lag_seconds_sum") or 0

    async with background(watch_loop()):
        await asyncio.sleep(0)  # it has begun to wait
        before = late_seconds()
        time.sleep(0.5)
        async with asyncio.timeout(WAIT_SECONDS):
            while late_seconds() - before < 0.5 - LOOK_SECONDS:
                await asyncio.sleep(0.01)


def test_the_cache_shows_windows_and_the_database(own_polka: Running) -> None:
    url = own_polka.cache.metrics_url
    for step, closed, settled in (("", 1, 0), ("/1/settle", 0, 1)):
        client.post(f"{own_polka.url}/clearing{step}", json={"window": 1}).raise_for_status()
        wanted = {"open": 1, "closed": closed, "settled": settled}
        wait_for("it shows", lambda: {one: value(url, "polka_windows", state=one) for one in wanted} == wanted)  # noqa: B023
    read = samples(url)
    one = {name: held for (name, _), held in read.items()}
    assert 0 <= one["polka_window_open_seconds"] < 60
    assert 3 <= one["polka_database_connections"] <= one["polka_database_max_connections"]
    assert one["polka_database_size_bytes"] > 1_000_000


async def test_what_is_pending_ages_until_it_is_posted(services: Services, connection: asyncpg.Connection) -> None:
    cache = services.cache(POLKA_FLUSH_SECONDS="0.1").ready()
    url, batch = cache.metrics_url, new_id()
    tell(cache.url, batch, transfer())
    wait_for("it is a second old", lambda: (value(url, "polka_pending_oldest_seconds") or 0) > 1)
    number = value(url, "polka_flush_number")
    await commit(connection, transfer(), batch)
    wait_for("it is posted", lambda: value(url, "polka_flush_number") == (number or 0) + 1)
    wait_for("nothing is pending", lambda: value(url, "polka_pending_oldest_seconds") == 0)
    read = samples(url)
    at_most_one = read["polka_flush_batches_bucket", frozenset({("le", "1.0")})]
    assert at_most_one == read["polka_flush_batches_count", frozenset()]
    assert read["polka_flush_batches_sum", frozenset()] == 1
    wait_for("flushes go on", lambda: 0 <= (value(url, "polka_flush_age_seconds") or 60) < 1)


async def test_the_largest_balances_are_shown_and_others_no_more(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(POLKA_METRICS_BANKS_MAX="2", POLKA_FLUSH_SECONDS="0.1").ready()

    def shown() -> dict[str, float]:
        found = samples(cache.metrics_url).items()
        return {dict(labels)["bank"]: held for (name, labels), held in found if name == "polka_balance_minor_units"}

    await commit(connection, transfer(30, "bank1", "bank2"))
    await commit(connection, transfer(20, "bank1", "bank3"))
    wait_for("the two largest are shown", lambda: shown() == {"bank1": -50, "bank2": 30})
    await commit(connection, transfer(45, "bank3", "bank1"))
    wait_for("others are the largest", lambda: shown() == {"bank2": 30, "bank3": -25})
