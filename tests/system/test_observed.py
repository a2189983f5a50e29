"""What Prometheus sees of a Polka under load: its targets, and that dashboards and rules find what they ask for."""

import math
import re
import subprocess
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest

import queries
from observed import Observed
from prometheus import SCRAPE_SECONDS, Prometheus, program
from services import client
from waiting import WAIT_SECONDS

EMPTY = {
    r"\b(kube|kubelet|container|node|machine)_": "Kubernetes tells it, of a cluster alone",
    r"\bpolka_commit_failures_": "no commit fails",
    r"\bpolka_cache_starts_": "the cache has no reason for doubt",
    r"\bpolka_audit_failures_": "each audit runs",
    r"\bpolka_tombstones_": "each api tells what became of its batches",
    r'outcome!="accepted"': "caps are far away",
    r"\bpolka_rates_": "the tests' caches fetch no exchange rates",
}
"""What may find nothing here, as part of a query: why it is empty when all is well."""


def found(prometheus: Prometheus, expression: str) -> bool:
    return any(not math.isnan(series["value"]) for series in prometheus.query(expression))


def unanswered(prometheus: Prometheus, expressions: Iterable[str], seconds: float = WAIT_SECONDS) -> list[str]:
    """The queries that find nothing within this time, and are not listed with a reason for it.

    Of those that are listed the parts are asked for, but for the one that may be empty.
    """
    ends_at = time.monotonic() + seconds
    left = list(dict.fromkeys(chain.from_iterable(parts(one) if may_be_empty(one) else [one] for one in expressions)))
    while (left := [one for one in left if not found(prometheus, one)]) and time.monotonic() < ends_at:
        time.sleep(SCRAPE_SECONDS)
    return left


def parts(expression: str) -> list[str]:
    return [one for one in queries.selectors(expression) if not may_be_empty(one)]


def may_be_empty(expression: str) -> bool:
    return any(re.search(part, expression) for part in EMPTY)


def test_each_reason_is_one_of_a_query_that_there_is() -> None:
    asked = [*queries.of_rules(), *chain.from_iterable(map(queries.of_dashboard, queries.DASHBOARDS))]
    assert [part for part in EMPTY if not any(re.search(part, one) for one in asked)] == []


def test_prometheus_reaches_each_process(observed: Observed) -> None:
    jobs = observed.prometheus.query("count by (job) (up == 1)")
    assert {series["metric"]["job"]: series["value"] for series in jobs} == {
        "polka-api": 2,
        "polka-cache": 1,
        "polka-spammer": 1,
    }


@pytest.mark.parametrize("dashboard", queries.DASHBOARDS, ids=lambda path: path.stem)
def test_each_query_of_a_dashboard_finds_something(observed: Observed, dashboard: Path) -> None:
    assert unanswered(observed.prometheus, queries.of_dashboard(dashboard)) == []


def test_each_query_of_a_rule_finds_something(observed: Observed) -> None:
    assert unanswered(observed.prometheus, queries.of_rules()) == []


def test_a_query_that_finds_nothing_is_told(observed: Observed) -> None:
    asked = ['polka_epoch{release="other"}', "rate(polka_flushes_total[30s])", 'polka_cap_use_ratio{bank="none"}']
    assert unanswered(observed.prometheus, asked, seconds=1) == [asked[0], asked[2]]
    listed = 'sum(rate(polka_commit_failures_total[30s])) / sum(rate(polka_commits_total{reason="a"}[30s]))'
    assert unanswered(observed.prometheus, [listed], seconds=1) == ['polka_commits_total{reason="a"}']


def test_the_spammer_shows_what_it_sends(observed: Observed) -> None:
    of_spammer = observed.prometheus.query('polka_spam_requests_total{operation="payment", outcome="accepted"}')
    assert of_spammer[0]["value"] > 0
    assert observed.prometheus.query("polka_spam_users")[0]["value"] == 10
    assert found(observed.prometheus, 'rate(polka_spam_request_seconds_sum{operation="deletion"}[30s])')


def test_each_metric_that_is_served_is_documented(observed: Observed) -> None:
    document = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(polka_\w+)` ", document, re.M))
    for url in (observed.polka.metrics_url, observed.polka.cache.metrics_url, observed.spammer_url):
        served = re.findall(r"^# TYPE (polka_\w+) ", client.get(f"{url}/metrics").text, re.M)
        assert served
        assert set(served) <= documented


def test_promtool_finds_nothing_wrong_with_the_metrics(observed: Observed) -> None:
    promtool = program("promtool")
    for url in (observed.polka.metrics_url, observed.polka.cache.metrics_url, observed.spammer_url):
        page = client.get(f"{url}/metrics").raise_for_status().content
        done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
        said = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 0, f"{url}: {said}"
        assert said == "", f"{url}: {said}"
