"""Pulses: the report of an api process several times a second, and the rates of all processes together. Pure.

A pulse counts from its process's start, so a lost pulse loses no counts.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

PULSE_SECONDS = 0.4
"""Between two pulses."""
SPAN_SECONDS = 2.0
"""Rates and latencies cover this last time."""
SILENT_SECONDS = 10.0
"""A process without a pulse for this time is left out."""
PROCESSES_MAX = 1_000
LINES_SECONDS = 120.0
"""The history that a newly opened console shows."""
TAKEN = ("accepted", "replayed")


class Pulse(msgspec.Struct, frozen=True):
    """One process at one moment.

    `second` is its own clock, from its start. `committed` counts its committed payments and changes. `outcomes` counts
    the outcomes of POST /transaction. `latency` counts the answers within each number of seconds (None: all answers).
    """

    name: str
    pid: int
    version: str
    since: datetime
    second: float
    committed: int
    outcomes: dict[str, int]
    latency: list[tuple[float | None, int]]
    queue: int
    queue_max: int
    lag_seconds: float


class Rates(msgspec.Struct, frozen=True):
    """Of the last two seconds: payments a second by outcome, and the latency of 50 and 99 % of the answers.

    A latency is None without answers.
    """

    committed: float
    outcomes: dict[str, float]
    p50_seconds: float | None
    p99_seconds: float | None


class Line(msgspec.Struct, frozen=True, array_like=True):
    """The rates of one moment, for the console's chart. `refused` includes every outcome other than accepted or
    replayed."""

    at: datetime
    committed: float
    refused: float
    p50_seconds: float | None
    p99_seconds: float | None


class Heard(msgspec.Struct, frozen=True):
    """The newest pulse of a process, its age, and the process's own rates."""

    pulse: Pulse
    age_seconds: float
    rates: Rates


class Pulses:
    """The last pulses of all live processes. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._processes: dict[tuple[str, int], deque[tuple[float, Pulse]]] = {}

    def hear(self, pulse: Pulse, now: float) -> None:
        self._forget(now)
        kept = self._processes.setdefault((pulse.name, pulse.pid), deque())
        kept.append((now, pulse))
        while pulse.second - kept[0][1].second > SPAN_SECONDS:
            kept.popleft()
        if len(self._processes) > PROCESSES_MAX:
            del self._processes[next(iter(self._processes))]

    def _forget(self, now: float) -> None:
        silent = [key for key, kept in self._processes.items() if now - kept[-1][0] > SILENT_SECONDS]
        for key in silent:
            del self._processes[key]

    def heard(self, now: float) -> list[Heard]:
        """All processes with a recent pulse, by name."""
        self._forget(now)
        return [
            Heard(kept[-1][1], round(now - kept[-1][0], 2), rates(self._changes([kept], now)))
            for _, kept in sorted(self._processes.items())
        ]

    def rates(self, now: float) -> Rates:
        """Of all processes together."""
        return rates(self._changes(self._processes.values(), now))

    def _changes(self, kept: Iterable[Sequence[tuple[float, Pulse]]], now: float) -> list[tuple[Pulse, Pulse]]:
        """The first and the last kept pulse of each process with a recent pulse."""
        return [(one[0][1], one[-1][1]) for one in kept if now - one[-1][0] <= SPAN_SECONDS]


def line(at: datetime, found: Rates) -> Line:
    refused = sum(rate for outcome, rate in found.outcomes.items() if outcome not in TAKEN)
    return Line(at, found.committed, round(refused, 1), found.p50_seconds, found.p99_seconds)


def rates(changes: Iterable[tuple[Pulse, Pulse]]) -> Rates:
    """From an earlier and a later pulse of each process."""
    committed = 0.0
    outcomes: dict[str, float] = {}
    counts: dict[float | None, int] = {}
    for before, after in changes:
        seconds = after.second - before.second
        if seconds <= 0:
            continue
        committed += (after.committed - before.committed) / seconds
        for outcome, count in after.outcomes.items():
            more = (count - before.outcomes.get(outcome, 0)) / seconds
            outcomes[outcome] = outcomes.get(outcome, 0) + more
        for bound, count in within(before.latency, after.latency).items():
            counts[bound] = counts.get(bound, 0) + count
    return Rates(
        round(committed, 1),
        {outcome: round(rate, 1) for outcome, rate in sorted(outcomes.items()) if rate},
        quantile(counts, 0.5),
        quantile(counts, 0.99),
    )


def within(
    before: Sequence[tuple[float | None, int]], after: Sequence[tuple[float | None, int]]
) -> dict[float | None, int]:
    """The number of new observations in each bucket, by upper bound."""
    earlier = dict(before)
    counts, below = {}, 0
    for bound, count in after:
        more = count - earlier.get(bound, 0)
        counts[bound], below = more - below, more
    return counts


def quantile(counts: Mapping[float | None, int], share: float) -> float | None:
    """The latency of this share of the answers, as in Prometheus: evenly spread within a bucket.

    Times above the last bound count as the last bound.
    """
    total = sum(counts.values())
    if not total:
        return None
    wanted, passed, lower = share * total, 0, 0.0
    for bound in sorted(bound for bound in counts if bound is not None):
        count = counts[bound]
        if count and passed + count >= wanted:
            return round(lower + (bound - lower) * (wanted - passed) / count, 6)
        passed, lower = passed + count, bound
    return lower
