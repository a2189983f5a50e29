"""Counters and histograms for each payment: plain numbers that become metrics on request.

prometheus-client's own metrics take a lock for each number, so that any thread may count. Here only the event loop's
thread counts.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

T = TypeVar("T")

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The bounds of histograms of times."""


class Count:
    """A number that only grows."""

    __slots__ = ("number",)

    def __init__(self) -> None:
        self.number = 0

    def inc(self) -> None:
        self.number += 1


class Times:
    """The number of observations by place among `SECONDS`, and their sum."""

    __slots__ = ("numbers", "sum")

    def __init__(self) -> None:
        self.numbers = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.numbers[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Upper bounds, and the number of observations up to each bound."""
        total = 0
        for bound, number in zip((*map(str, SECONDS), "+Inf"), self.numbers, strict=True):
            total += number
            yield bound, total


class Labelled(Collector, Generic[T]):
    """Children by the values of their labels, as one family of metrics."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.family = name, documentation, tuple(labels)
        self.children: dict[tuple[str, ...], T] = {}
        REGISTRY.register(self)


class Counts(Labelled[Count]):
    """A counter with labels."""

    def labels(self, *values: str) -> Count:
        return self.children.setdefault(values, Count())

    def collect(self) -> Iterator[Metric]:
        name, documentation, labels = self.family
        family = CounterMetricFamily(name, documentation, labels=labels)
        for values, child in self.children.items():
            family.add_metric(values, child.number)
        yield family


class Histograms(Labelled[Times]):
    """A histogram of times with labels."""

    def labels(self, *values: str) -> Times:
        return self.children.setdefault(values, Times())

    def collect(self) -> Iterator[Metric]:
        name, documentation, labels = self.family
        family = HistogramMetricFamily(name, documentation, labels=labels)
        for values, child in self.children.items():
            family.add_metric(values, list(child.buckets()), child.sum)
        yield family
