"""The cache fetches exchange rates: good ones are stored once, and whatever else comes, the last good ones stay."""

import asyncio
import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from cache.chores.rates import pause_seconds
from documents import document
from exposed import page, value
from front_door import fetch
from polka.local.demo import free_port
from polka.rules import ecb
from polka.store import advisory_locks
from publisher import Answer, Publisher, cut_off, endless, publishing, silent, slow, status, whole
from services import Service, Services, client, wait_for

QUICK = {"POLKA_RATES_REFRESH_SECONDS": "0.1", "POLKA_RATES_TIMEOUT_SECONDS": "0.5", "POLKA_FLUSH_SECONDS": "0.1"}

RECORDED = ecb.read(files("polka.store").joinpath("recorded_rates.xml").read_bytes())
RATES = {currency: f"{rate:f}" for currency, rate in RECORDED.of_euro.items()}
TODAY = datetime.now(UTC).date()
YESTERDAY = TODAY - timedelta(days=1)


def of_yesterday(**changed: str) -> bytes:
    """A good document, but for what is changed; a currency that is changed to nothing is left out."""
    return document(YESTERDAY, [(currency, rate) for currency, rate in (RATES | changed).items() if rate])


GOOD = of_yesterday(USD="1.1200")
NEXT = document(TODAY, (RATES | {"USD": "1.1300"}).items())


class Refreshed:
    """A cache that fetches from a publisher, and the rates that it has stored."""

    def __init__(self, services: Services, publisher: Publisher, **environ: str) -> None:
        self.services = services
        self.publisher = publisher
        self.cache = services.cache(POLKA_RATES_URL=publisher.url, **QUICK | environ).ready()

    def outcomes(self) -> Mapping[str, float]:
        """How many fetches came to what."""
        shown = page(self.cache.metrics_url)
        found = re.findall(r'^polka_rates_fetches_total\{outcome="(\w+)"\} (\S+)$', shown, re.MULTILINE)
        return {outcome: float(count) for outcome, count in found}

    def wait_for(self, outcome: str) -> None:
        """Until fetches that begin from now on have come to this."""
        enough = self.outcomes().get(outcome, 0) + 2
        wait_for(f"two more fetches are {outcome}", lambda: self.outcomes().get(outcome, 0) >= enough)

    def answers(self, answer: Answer, outcome: str) -> None:
        self.publisher.answer = answer
        self.wait_for(outcome)

    def stored(self) -> list[Any]:
        """All that is stored: of which day, in which version, from where, and the rates."""
        return fetch(self.services.database_url, STORED)


STORED = """
SELECT date, version, source, array_agg((currency, rate)::text ORDER BY currency) AS rates
FROM rate_sets LEFT JOIN rates USING (date, version) GROUP BY date, version ORDER BY date, version
"""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def shared(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refreshed]:
    services = Services(make_database(), tmp_path_factory.mktemp("refreshed"))
    with publishing() as publisher:
        try:
            yield Refreshed(services, publisher)
        finally:
            services.stop()


BOMB = '<!DOCTYPE e [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
RELEASED = threading.Event()


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


FAULTS: dict[str, tuple[Answer, str]] = {
    "nothing": (silent(RELEASED), "unreachable"),
    "a byte now and then": (slow(GOOD, RELEASED), "unreachable"),
    "half of it": (cut_off(GOOD), "unreachable"),
    "the end of the connection": (hangs_up, "unreachable"),
    "an error": (status(500), "status"),
    "another place": (status(302), "status"),
    "no news for whoever has asked for all": (status(304), "status"),
    "too much": (endless, "too_large"),
    "something compressed": (whole(gzip.compress(GOOD)), "malformed"),
    "a page": (whole(b"<html><body>Back soon</body></html>"), "malformed"),
    "half of it as the whole": (whole(GOOD[: len(GOOD) // 2]), "malformed"),
    "an entity bomb": (
        whole(GOOD.replace(b"?>", f"?>{BOMB}".encode()).replace(b"</Cube>", b"&c;</Cube>")),
        "malformed",
    ),
    "a rate of nothing": (whole(of_yesterday(USD="0")), "malformed"),
    "a rate below nothing": (whole(of_yesterday(USD="-1.12")), "malformed"),
    "a currency without a name": (whole(GOOD.replace(b"currency='USD'", b"")), "malformed"),
    "rates of a day to come": (whole(document(TODAY + timedelta(days=2), RATES.items())), "future"),
    "old rates": (whole(document(YESTERDAY - timedelta(days=1), RATES.items())), "old"),
    "rates without three currencies": (whole(of_yesterday(USD="", GBP="", JPY="")), "incomplete"),
    "a rate with the point elsewhere": (whole(of_yesterday(JPY="17568")), "implausible"),
}


@pytest.mark.parametrize("fault", FAULTS.keys())
def test_whatever_else_is_sent_the_last_good_rates_stay(shared: Refreshed, fault: str) -> None:
    shared.answers(whole(GOOD), "unchanged")
    before = shared.stored()
    shared.answers(*FAULTS[fault])
    assert shared.stored() == before
    shared.answers(whole(GOOD), "unchanged")
    assert shared.stored() == before
    assert [(day, version, source) for day, version, source, _ in before] == [
        (RECORDED.date, 1, "recorded"),
        (YESTERDAY, 1, "fetched"),
    ]


def test_after_failures_the_next_good_rates_are_stored_once_and_used(services: Services, publisher: Publisher) -> None:
    refreshed = Refreshed(services, publisher)
    api = services.api().ready()
    question = f"{api.url}/convert?from=EUR&to=USD&amount=10000"
    assert client.get(question).json()["source"] == "recorded"
    refreshed.answers(status(503), "status")
    assert client.get(question).json()["source"] == "recorded"
    refreshed.answers(whole(GOOD), "unchanged")
    answer = client.get(question).json()
    assert (answer["to"]["amount"], answer["date"], answer["source"]) == (11_200, str(YESTERDAY), "fetched")
    refreshed.answers(whole(NEXT), "unchanged")
    answer = client.get(question).json()
    assert (answer["to"]["amount"], answer["date"], answer["version"]) == (11_300, str(TODAY), 1)
    assert refreshed.outcomes()["stored"] == 2
    assert [day for day, *_ in refreshed.stored()] == [RECORDED.date, YESTERDAY, TODAY]


def test_a_correction_of_the_same_day_is_another_version(services: Services, publisher: Publisher) -> None:
    refreshed = Refreshed(services, publisher)
    refreshed.answers(whole(GOOD), "unchanged")
    first = refreshed.stored()
    refreshed.answers(whole(of_yesterday(USD="1.1201")), "unchanged")
    assert refreshed.stored()[:-1] == first
    assert refreshed.stored()[-1][:3] == (YESTERDAY, 2, "fetched")


def test_the_recorded_rates_that_are_fetched_count_as_fetched(services: Services, publisher: Publisher) -> None:
    refreshed = Refreshed(services, publisher)
    refreshed.answers(whole(document(RECORDED.date, RATES.items())), "unchanged")
    assert [found[:3] for found in refreshed.stored()] == [
        (RECORDED.date, 1, "recorded"),
        (RECORDED.date, 2, "fetched"),
    ]


def test_a_document_that_was_taken_is_not_sent_again(services: Services, publisher: Publisher) -> None:
    refreshed = Refreshed(services, publisher)
    refreshed.answers(whole(GOOD, '"good"'), "unchanged")
    assert publisher.asked[-1]["if-none-match"] == '"good"'
    refreshed.answers(whole(of_yesterday(USD="0"), '"bad"'), "malformed")
    assert publisher.asked[-1]["if-none-match"] == '"good"'
    refreshed.answers(whole(NEXT, '"next"'), "unchanged")
    assert publisher.asked[-1]["if-none-match"] == '"next"'
    assert publisher.asked[-1]["accept-encoding"] == "identity"
    assert publisher.asked[-1]["user-agent"].startswith("polka/")


def test_of_several_processes_one_fetches(services: Services, publisher: Publisher) -> None:
    async def hold(refreshed: Refreshed) -> int:
        connection = await asyncpg.connect(services.database_url)
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", advisory_locks.RATES)
            await asyncio.to_thread(refreshed.wait_for, "elsewhere")
            asked = len(publisher.asked)
            await asyncio.to_thread(refreshed.wait_for, "elsewhere")
            return len(publisher.asked) - asked
        finally:
            await connection.close()

    refreshed = Refreshed(services, publisher)
    assert asyncio.run(hold(refreshed)) == 0
    refreshed.answers(whole(GOOD), "unchanged")


def test_its_age_is_told(shared: Refreshed) -> None:
    shared.answers(whole(GOOD), "unchanged")
    shown = page(shared.cache.metrics_url)
    age = float(re.findall(r"^polka_rates_age_seconds (\S+)$", shown, re.MULTILINE)[0])
    midnight = datetime.combine(YESTERDAY, datetime.min.time(), UTC).timestamp()
    assert age == pytest.approx(time.time() - midnight, abs=60)


def test_a_publisher_that_says_nothing_holds_nothing_up(services: Services, publisher: Publisher) -> None:
    publisher.answer = silent(RELEASED)
    refreshed = Refreshed(services, publisher, POLKA_RATES_TIMEOUT_SECONDS="3600")
    wait_for("it is asked", lambda: publisher.asked)
    assert refreshed.cache.is_ready()
    refreshed.cache.stop()
    assert refreshed.cache.process.returncode in (0, -15)


def test_what_nobody_foresaw_does_not_end_the_cache(services: Services, publisher: Publisher) -> None:
    publisher.url = "http://xn--a/"  # no name in any language
    refreshed = Refreshed(services, publisher)
    refreshed.wait_for("failed")
    assert refreshed.cache.is_ready()


def test_what_is_no_address_ends_the_cache_with_one_line(services: Services) -> None:
    cache: Service = services.cache(POLKA_RATES_URL="ftp://example.com/rates.xml")
    assert cache.ended() == 1
    assert "POLKA_RATES_URL: " in cache.log.read_text()
    assert "Traceback" not in cache.log.read_text()


@pytest.mark.parametrize(
    ("failures", "refresh", "longest"),
    [(0, 3600, 3600), (1, 3600, 5), (2, 3600, 10), (5, 3600, 80), (11, 3600, 3600), (10**6, 3600, 3600), (1, 2, 2)],
)
def test_pauses_grow_up_to_that_of_the_schedule(failures: int, refresh: float, longest: float) -> None:
    assert pause_seconds(failures, refresh) == longest


def test_without_a_network_one_line_says_which_rates_stay_and_why(services: Services) -> None:
    url = f"http://127.0.0.1:{free_port()}/rates.xml"
    cache = services.cache(POLKA_RATES_URL=url, POLKA_LOG_FORMAT="json", **QUICK).ready()
    fetches = "polka_rates_fetches_total"
    wait_for("it has tried twice", lambda: (value(cache.metrics_url, fetches, outcome="unreachable") or 0) >= 2)
    lines = [json.loads(line) for line in cache.log.read_text().splitlines()]
    (told,) = [line for line in lines if "exchange rates" in line["event"]]
    assert told["level"] == "info"
    assert told["event"] == (
        f"no exchange rates are fetched, those of {RECORDED.date} stay in force: "
        "127.0.0.1 is not reachable (All connection attempts failed)"
    )
    assert not [line for line in lines if line["level"] != "info"]
