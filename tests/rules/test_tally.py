"""The spammer's tally: how it counts, and what it says of a run."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from spammer.metrics import Spammed
from spammer.tally import ACCEPTED, Tally, bar, progress, rounded, summary

Endings = list[tuple[str, float, int]]


def endings() -> st.SearchStrategy[Endings]:
    ending = st.tuples(st.sampled_from([ACCEPTED, "timeout", "no_answer"]), st.floats(0, 100), st.integers(1, 5))
    return st.lists(ending, max_size=60)


def tally_of(endings: Endings) -> Tally:
    tally = Tally()
    for outcome, seconds, attempts in endings:
        tally.count(outcome, seconds, attempts)
        tally.count_request("payment", outcome, seconds)
    return tally


@given(st.lists(endings(), max_size=4), st.floats(0.01, 1))
def test_tallies_of_several_processes_add_up(parts: list[Endings], share: float) -> None:
    total = Tally()
    for part in parts:
        total.add(Tally.of(tally_of(part).to_message()))
    everything = [ending for part in parts for ending in part]
    assert total == tally_of(everything)
    assert total.ended == len(everything)
    assert total.outcomes == Counter(outcome for outcome, _, _ in everything)
    assert total.retries == sum(attempts - 1 for _, _, attempts in everything)


@given(endings())
def test_metrics_show_each_request_of_the_tally_in_the_bucket_of_its_time(endings: Endings) -> None:
    registry = CollectorRegistry()
    registry.register(Spammed(lambda: tally_of(endings), lambda: 7))
    outcomes = Counter(outcome for outcome, _, _ in endings)
    for outcome in (ACCEPTED, "timeout"):
        labels = {"operation": "payment", "outcome": outcome}
        assert (registry.get_sample_value("polka_spam_requests_total", labels) or 0) == outcomes[outcome]
    for bound in ("0.001", "1.0", "+Inf"):
        labels = {"operation": "payment", "le": bound}
        expected = sum(seconds <= float(bound) for _, seconds, _ in endings)
        assert (registry.get_sample_value("polka_spam_request_seconds_bucket", labels) or 0) == expected
    took = registry.get_sample_value("polka_spam_request_seconds_sum", {"operation": "payment"}) or 0
    assert took == pytest.approx(sum(seconds for _, seconds, _ in endings), abs=1e-4)
    assert registry.get_sample_value("polka_spam_users") == 7


@given(endings(), st.floats(0.01, 1))
def test_a_percentile_is_the_nearest_rank_of_all_latencies(endings: Endings, share: float) -> None:
    latencies = sorted(rounded(seconds * 1000) for _, seconds, _ in endings)
    expected = latencies[max(1, math.ceil(share * len(latencies))) - 1] if latencies else 0
    assert tally_of(endings).percentile(share) == expected


@given(st.floats(0, 10**9))
def test_latencies_are_kept_to_two_digits(milliseconds: float) -> None:
    kept = rounded(milliseconds)
    assert kept >= 1
    assert abs(kept - milliseconds) <= max(1, milliseconds * 0.0501)


def test_the_summary_says_rate_percentiles_and_outcomes() -> None:
    tally = tally_of([(ACCEPTED, 0.01, 1)] * 97 + [("timeout", 1.5, 3)] * 3)
    assert summary(tally, 120, 5).splitlines() == [
        "100 of 120 payments in 5.0 s: 20 a second",
        "latency  p50 10 ms  p95 10 ms  p99 1,500 ms",
        "        97  accepted",
        "         3  timeout",
        "         6  sent again with the same key",
    ]


def test_the_lines_of_a_run_without_end_name_no_end() -> None:
    tally = tally_of([(ACCEPTED, 0.01, 1)] * 1_500)
    assert summary(tally, 0, 5).startswith("1,500 payments in 5.0 s: 300 a second\n")
    assert progress(tally, 0, 5).startswith("1,500  300/s  p50 10 ms")


def test_a_run_is_good_if_only_terms_have_refused() -> None:
    tally = tally_of([(ACCEPTED, 0.01, 1), ("cap_exceeded", 0.01, 1), ("bank_suspended", 0.01, 1)])
    tally.count_other("delete", "cap_exceeded", 1)
    assert tally.is_good
    other = Tally.of(tally.to_message())
    other.count_other("patch", "stale_version", 1)
    assert not other.is_good
    tally.count("unknown_bank", 0.01, 1)
    assert not tally.is_good


def test_a_bar_grows_with_the_payments_and_fits_into_80_columns() -> None:
    tally = Tally()
    assert bar(tally, 200, 0) == f"[{'.' * 25}]  0 of 200 payments  0 a second"
    tally.outcomes[ACCEPTED] = 100
    assert bar(tally, 200, 2) == f"[{'#' * 12}{'.' * 13}]  100 of 200 payments  50 a second"
    tally.outcomes[ACCEPTED] = 1_000_000
    assert len(bar(tally, 1_000_000, 100)) <= 80
