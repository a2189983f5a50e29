"""What pulses come to: rates of the last seconds, latencies as Prometheus has them, and who is alive."""

from datetime import UTC, datetime
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polka.rules.pulses import PROCESSES_MAX, SILENT_SECONDS, SPAN_SECONDS, Pulse, Pulses, quantile, rates

SINCE = datetime(2026, 11, 24, tzinfo=UTC)


def pulse(second: float, committed: int = 0, name: str = "api-1", pid: int = 1, refused: int = 0) -> Pulse:
    outcomes = {"accepted": committed, "cap_exceeded": refused}
    latency: list[tuple[float | None, int]] = [(0.01, committed // 2), (0.1, committed), (None, committed)]
    return Pulse(name, pid, "0.1.0", SINCE, second, committed, outcomes, latency, 0, 4096, 0.0)


def test_rates_are_what_came_between_two_pulses_of_each_process() -> None:
    found = rates([(pulse(10, 100), pulse(12, 300, refused=4)), (pulse(1, 0), pulse(2, 50))])
    assert found.committed == 150
    assert found.outcomes == {"accepted": 150, "cap_exceeded": 2}
    assert found.p50_seconds == 0.01
    assert found.p99_seconds == pytest.approx(0.01 + 0.09 * 0.98)


def test_without_an_answer_there_is_no_latency() -> None:
    found = rates([(pulse(1, 7), pulse(2, 7))])
    assert (found.committed, found.outcomes, found.p50_seconds, found.p99_seconds) == (0, {}, None, None)
    assert rates([]) == found


def test_a_pulse_that_is_lost_loses_nothing() -> None:
    lossless, lossy = Pulses(), Pulses()
    for tick in range(6):
        lossless.hear(pulse(tick * 0.4, tick * 40), tick * 0.4)
        if tick not in (2, 3):
            lossy.hear(pulse(tick * 0.4, tick * 40), tick * 0.4)
    assert lossy.rates(2).committed == lossless.rates(2).committed == 100


def test_a_process_that_is_silent_has_no_rate_and_is_forgotten_after_a_while() -> None:
    pulses = Pulses()
    pulses.hear(pulse(0, 0), 0)
    pulses.hear(pulse(1, 10), 1)
    pulses.hear(pulse(0, 0, name="api-2"), 1)
    assert [(heard.pulse.name, heard.age_seconds) for heard in pulses.heard(1.5)] == [("api-1", 0.5), ("api-2", 0.5)]
    assert pulses.rates(1.5).committed == 10
    assert pulses.rates(1.1 + SPAN_SECONDS).committed == 0
    assert len(pulses.heard(1 + SILENT_SECONDS)) == 2
    assert pulses.heard(1.1 + SILENT_SECONDS) == []


def test_a_process_that_is_started_again_begins_anew() -> None:
    pulses = Pulses()
    pulses.hear(pulse(0, 0), 0)
    pulses.hear(pulse(1, 1_000), 1)
    pulses.hear(pulse(0.4, 0, pid=2), 1.4)
    pulses.hear(pulse(0.8, 10, pid=2), 1.8)
    assert [heard.rates.committed for heard in pulses.heard(1.8)] == [1_000, 25]


def test_memory_is_bounded_in_processes_and_in_pulses() -> None:
    pulses = Pulses()
    for number in range(PROCESSES_MAX + 10):
        pulses.hear(pulse(0, 0, pid=number), 0)
    assert len(pulses.heard(0)) == PROCESSES_MAX
    for tick in range(1_000):
        pulses.hear(pulse(tick * 0.4, tick), tick * 0.4)
    assert pulses.rates(400).committed == pytest.approx(2.5)


BOUNDS = [0.1, 0.2, 0.5, 1.0]


@given(st.lists(st.floats(0.001, 1), min_size=1), st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_a_quantile_lies_in_the_bucket_of_the_time_that_has_its_rank(times: list[float], share: float) -> None:
    buckets = list(zip([0.0, *BOUNDS], BOUNDS, strict=False))
    counts: dict[float | None, int] = {None: 0}
    counts |= {upper: sum(lower < time <= upper for time in times) for lower, upper in buckets}
    found = quantile(counts, share)
    exact = sorted(times)[ceil(share * len(times)) - 1]
    [(lower, upper)] = [bucket for bucket in buckets if bucket[0] < exact <= bucket[1]]
    assert found is not None
    assert lower <= found <= upper


def test_what_is_above_all_bounds_counts_as_the_last() -> None:
    assert quantile({0.1: 1, None: 99}, 0.5) == 0.1
