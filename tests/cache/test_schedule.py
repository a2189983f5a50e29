"""Clearing by schedule: each of its times closes a window and settles it, once, whatever becomes of the cache."""

import asyncio
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.clearing.schedule import Schedule, check
from commands import run
from committed import held
from databases import execute
from exposed import page
from front_door import fetch
from locks import Locked, until_waiting
from polka.audit import snapshot
from polka.service.failure import Failure
from services import CACHE_TOKEN, Service, Services, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Fault, Wire, commit_after

YEARLY = "0 0 1 1 *"
"""One of its times is missed once `THREE_YEARS_AGO` was said; no other comes while a test runs."""
THREE_YEARS_AGO = "UPDATE clearing_schedule SET since = since - interval '3 years'"
SCHEDULED = "SELECT id, state, scheduled_for FROM windows WHERE scheduled_for IS NOT NULL ORDER BY id"
WINDOWS = "SELECT id, state, scheduled_for IS NOT NULL FROM windows ORDER BY id"
FIRED = [(1, "settled", True), (2, "open", False)]

times = st.timedeltas(timedelta(0), timedelta(days=70_000)).map(
    lambda passed: datetime(2001, 1, 1, tzinfo=UTC) + passed
)
steps = st.lists(st.timedeltas(timedelta(0), timedelta(hours=9)), max_size=8)


@given(times, steps, st.sampled_from([1, 7, 60]), st.integers(0, 59))
def test_each_time_that_has_come_fires_once_and_of_several_the_latest(
    since: datetime, pauses: list[timedelta], minutes: int, second: int
) -> None:
    """Against all whole seconds that have passed, one after the other."""
    hourly = minutes == 60
    schedule = Schedule(f"{second} {'3' if hourly else f'*/{minutes}'} * * * *", since)
    last = now = since
    for pause in pauses:
        now += pause
        passed = last_second(now, second, lambda minute: minute == 3 if hourly else minute % minutes == 0)
        expected = passed if passed > last else None
        assert schedule.due(now) == expected
        if expected:
            schedule.fired(expected)
            last = expected
        assert schedule.due(now) is None


def last_second(now: datetime, second: int, is_minute: Any) -> datetime:
    at = now.replace(microsecond=0)
    while at.second != second:
        at -= timedelta(seconds=1)
    while not is_minute(at.minute):
        at -= timedelta(minutes=1)
    return at


def test_a_clock_that_goes_back_fires_nothing_again() -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    schedule = Schedule("0 12 * * *", noon - timedelta(days=3))
    assert schedule.due(noon) == noon
    schedule.fired(noon)
    for hours in (-48, -24, -1, 0, 1):
        assert schedule.due(noon + timedelta(hours=hours)) is None
    assert schedule.due(noon + timedelta(days=2)) == noon + timedelta(days=2)


def test_without_a_schedule_nothing_is_ever_due() -> None:
    check("X", "")
    assert Schedule("", datetime(2001, 1, 1, tzinfo=UTC)).due(datetime(2100, 1, 1, tzinfo=UTC)) is None


@given(st.text(st.sampled_from("0123456789*/-,#L MONSUJANW²\n"), max_size=200))
def test_whatever_a_schedule_says_is_taken_or_refused_in_one_line(text: str) -> None:
    try:
        check("POLKA_CLEARING_SCHEDULE", text)
        refusal = "POLKA_CLEARING_SCHEDULE: none"
        Schedule(text, datetime(2026, 1, 1, tzinfo=UTC))
    except Failure as failure:
        refusal = str(failure)
    assert re.fullmatch("POLKA_CLEARING_SCHEDULE: [^\n]+", refusal)


@pytest.mark.parametrize(
    ("expression", "fact"),
    [
        ("61 * * * *", "'61 * * * *' is no cron expression: bad minute."),
        ("@daily", "'@daily' is no cron expression: wrong number of fields."),
        ("0 0 31 2 *", "'0 0 31 2 *' is no cron expression: bad day-of-month."),
        ("0 0 */20 * 1L", "'0 0 */20 * 1L' names no time in fifty years."),
        ("0" * 201, "expected `str` of length <= 200."),
    ],
)
def test_a_cache_with_a_wrong_schedule_ends_with_one_line(services: Services, expression: str, fact: str) -> None:
    environ = os.environ | {
        "POLKA_DATABASE_URL": services.database_url,
        "POLKA_CACHE_TOKEN": CACHE_TOKEN,
        "POLKA_CLEARING_SCHEDULE": expression,
        "POLKA_LOG_FORMAT": "text",
    }
    ended = run(["cache", "--port=1"], environ)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"Error: POLKA_CLEARING_SCHEDULE: {fact}"


class Scheduled:
    """An api, and caches that clear by schedule."""

    def __init__(self, services: Services, schedule: str = YEARLY, **environ: str) -> None:
        self.database_url = services.database_url
        self.services = services
        self.environ = {"POLKA_CLEARING_SCHEDULE": schedule, "POLKA_FLUSH_SECONDS": "0.1"} | environ
        self.cache = services.cache(**self.environ).ready()
        self.api = services.api().ready()

    def pay(self, amount: int) -> str:
        made = client.post(f"{self.api.url}/transaction", json=payment(amount)).raise_for_status().json()
        return str(made["id"])

    def miss_a_time(self) -> None:
        """While no cache runs."""
        self.cache.kill()
        asyncio.run(execute(self.database_url, THREE_YEARS_AGO))

    def until_settled(self, windows: int) -> None:
        """So many that the schedule has closed."""
        states = ["settled"] * windows
        wait_for(f"{states}", lambda: [state for _, state, _ in fetch(self.database_url, SCHEDULED)] == states)

    def is_audited(self, cache: Service | None = None) -> None:
        done = asyncio.run(snapshot.audit(self.database_url, (cache or self.cache).url, CACHE_TOKEN))
        assert done.is_clean, done.differences


def test_windows_are_closed_and_settled_at_the_times_of_the_schedule(services: Services) -> None:
    """Every second, with payments or without: a window a period."""
    scheduled = Scheduled(services, "* * * * * *")
    paid = scheduled.pay(100)
    url = f"{scheduled.api.url}/transaction/{paid}"
    window = wait_for("it is posted", lambda: client.get(url).json()["window"])
    report = f"{scheduled.api.url}/clearing/{window}"
    assert wait_for("it is settled", lambda: (told := client.get(report).json())["state"] == "settled" and told)[
        "settlement"
    ]
    assert held(scheduled.cache.url, "bank1") == (0, 0)
    wait_for("empty ones are closed, too", lambda: len(fetch(services.database_url, SCHEDULED)) >= window + 3)
    settled = [row for row in fetch(services.database_url, SCHEDULED) if row[1] == "settled"]
    fired = [at for _, _, at in settled]
    assert fired == sorted(set(fired))
    assert [at.microsecond for at in fired] == [0] * len(fired)
    listed = client.get(f"{scheduled.api.url}/clearing").json()["windows"]
    for one in listed[1:]:
        assert datetime.fromisoformat(one["closed_at"]) > datetime.fromisoformat(one["scheduled_for"])
    scheduled.cache.stop()
    scheduled.cache.restart()
    scheduled.is_audited()


def test_a_time_is_not_missed_that_came_before_its_schedule(services: Services) -> None:
    """Neither at the first start, nor where the schedule is another one, or is set again."""
    cache = Scheduled(services).cache
    asyncio.run(execute(services.database_url, "UPDATE clearing_schedule SET since = since - interval '10 years'"))
    for schedule in ("0 0 1 2 *", "", YEARLY):
        cache.stop()
        cache = services.another_cache(POLKA_CLEARING_SCHEDULE=schedule, POLKA_FLUSH_SECONDS="0.1").ready()
        until_it_has_looked(cache)
    assert fetch(services.database_url, WINDOWS) == [(1, "open", False)]


def until_it_has_looked(cache: Service) -> None:
    before = flushes(cache)
    wait_for("it has flushed twice more", lambda: flushes(cache) >= before + 2)


def flushes(cache: Service) -> float:
    for line in page(cache.metrics_url).splitlines():
        if line.startswith("polka_flushes_total "):
            return float(line.split()[1])
    return 0


def test_of_times_that_were_missed_one_fires_after_the_flush_of_the_start(services: Services) -> None:
    """So what was paid while no cache ran is in the window that it closes."""
    scheduled = Scheduled(services)
    scheduled.miss_a_time()
    scheduled.pay(100)
    scheduled.cache.restart()
    wait_for("it is closed and settled", lambda: fetch(services.database_url, WINDOWS) == FIRED)
    [(_, _, at)] = fetch(services.database_url, SCHEDULED)
    assert at == datetime(datetime.now(UTC).year, 1, 1, tzinfo=UTC)
    totals = client.get(f"{scheduled.api.url}/clearing/1").json()["totals"]
    assert [(total["bank"], total["net"]) for total in totals] == [("bank1", -100), ("bank2", 100)]
    scheduled.cache.kill()
    scheduled.cache.restart()
    until_it_has_looked(scheduled.cache)
    assert fetch(services.database_url, WINDOWS) == FIRED
    scheduled.is_audited()


def killed_while(scheduled: Scheduled, table: str) -> None:
    """A cache is started and is killed as it waits to write to the table."""
    with Locked(scheduled.database_url, table):
        scheduled.cache.process = scheduled.cache._spawn()
        asyncio.run(until_waiting(scheduled.database_url))
        scheduled.cache.kill()


def test_a_cache_that_is_killed_as_it_closes_leaves_it_to_the_next(services: Services) -> None:
    scheduled = Scheduled(services)
    scheduled.miss_a_time()
    killed_while(scheduled, "windows")
    assert fetch(services.database_url, WINDOWS) == [(1, "open", False)]
    scheduled.cache.restart()
    wait_for("it is closed and settled", lambda: fetch(services.database_url, WINDOWS) == FIRED)
    scheduled.is_audited()


@pytest.mark.parametrize("schedule", [YEARLY, ""])
def test_a_window_that_a_killed_cache_has_closed_is_settled_by_the_next(services: Services, schedule: str) -> None:
    """Whatever its schedule is."""
    scheduled = Scheduled(services)
    paid = scheduled.pay(100)
    wait_for("it is posted", lambda: client.get(f"{scheduled.api.url}/transaction/{paid}").json()["window"])
    scheduled.miss_a_time()
    killed_while(scheduled, "balances")
    assert fetch(services.database_url, WINDOWS) == [(1, "closed", True), (2, "open", False)]
    cache = services.another_cache(**scheduled.environ | {"POLKA_CLEARING_SCHEDULE": schedule}).ready()
    wait_for("it is settled", lambda: fetch(services.database_url, WINDOWS) == FIRED)
    scheduled.is_audited(cache)


def test_two_caches_fire_once(services: Services) -> None:
    """The second takes over while the first one closes. Where they wait for too long, the first may take over again."""
    scheduled = Scheduled(services)
    scheduled.miss_a_time()
    with Locked(services.database_url, "windows"):
        scheduled.cache.process = scheduled.cache._spawn()
        asyncio.run(until_waiting(services.database_url))
        second = services.another_cache(**scheduled.environ)
        asyncio.run(until_waiting(services.database_url, 2))
    caches = [scheduled.cache, second]
    [outdated] = wait_for("one has ended", lambda: [one for one in caches if one.process.poll() is not None])
    assert outdated.ended() == 75
    caches.remove(outdated)
    wait_for("it is closed and settled", lambda: fetch(services.database_url, WINDOWS) == FIRED)
    scheduled.is_audited(caches[0].ready())


@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name)
@pytest.mark.parametrize("state", ["closed", "settled"])
def test_a_connection_lost_at_the_commit_of_a_firing_leaves_it_done_once(
    services: Services, wire: Wire, state: str, fault: Fault
) -> None:
    """Lost before the COMMIT, after it, or with a backend that lives on and commits later."""
    direct = services.database_url
    scheduled = Scheduled(services)
    scheduled.pay(100)
    scheduled.miss_a_time()
    wire.arm(fault, commit_after(f"SET state = '{state}'".encode()))
    services.database_url = wire.url
    cache = services.another_cache(**scheduled.environ, POLKA_AUDIT_SECONDS="0")  # an audit commits, too
    assert wire.struck.wait(WAIT_SECONDS)
    if fault is Fault.DELAY:
        wire.release()
    wait_for("it is closed and settled", lambda: fetch(direct, WINDOWS) == FIRED)
    assert wait_for("the cache is back", lambda: held(cache.url, "bank1") == (0, 0))
    scheduled.is_audited(cache)


def test_a_window_says_by_what_it_was_closed(services: Services) -> None:
    scheduled = Scheduled(services)
    scheduled.miss_a_time()
    scheduled.cache.restart()
    wait_for("it is closed and settled", lambda: fetch(services.database_url, WINDOWS) == FIRED)
    client.post(f"{scheduled.api.url}/clearing", json={"window": 2}).raise_for_status()
    times = [window["scheduled_for"] for window in client.get(f"{scheduled.api.url}/clearing").json()["windows"]]
    assert times == [None, None, f"{datetime.now(UTC).year}-01-01T00:00:00Z"]


def test_the_audit_finds_a_schedule_that_went_back(services: Services) -> None:
    scheduled = Scheduled(services)
    for fired in (1, 2):
        scheduled.miss_a_time()
        asyncio.run(execute(services.database_url, "UPDATE windows SET scheduled_for = scheduled_for - interval '9y'"))
        scheduled.cache.restart()
        scheduled.until_settled(fired)
    scheduled.is_audited()
    asyncio.run(execute(services.database_url, "UPDATE windows SET scheduled_for = '2000-01-01' WHERE id = 2"))
    done = asyncio.run(snapshot.audit(services.database_url))
    assert [name for name, found in done.differences.items() if found] == [
        "Windows that the schedule has closed follow its times"
    ]
