"""The table of all metrics, as the code says them: their names, types, labels, units, and who serves them."""

from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

import api.metrics
import cache.metrics
import polka.exposition
import polka.metrics
from spammer.metrics import Spammed
from spammer.tally import Tally

SERVICES = {
    "api": (api.metrics,),
    "cache": (cache.metrics,),
    "api, cache": (polka.exposition, polka.metrics),
}
UNITS = {
    "_timestamp_seconds": "seconds since 1970",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_minor_units": "minor units of the currency",
    "_ratio": "1 is all of it",
}
HEAD = ("Metric", "Type", "Labels", "Unit", "Served by", "What it tells")


def rows() -> Iterator[tuple[str, ...]]:
    """One a metric, service by service, in the order of their names."""
    for service, modules in SERVICES.items():
        yield from sorted(row(service, metric) for module in modules for metric in metrics(module))
    yield from sorted(row("spammer", family) for family in Spammed(Tally, lambda: 0).collect())


def metrics(module: ModuleType) -> Iterable[Any]:
    return [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]


def row(service: str, metric: Any) -> tuple[str, ...]:
    """Of a metric of prometheus-client, or a family of them: both have their labels' names, and not for others."""
    family = next(iter(metric.describe())) if isinstance(metric, MetricWrapperBase) else metric
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    return f"`{name}`", family.type, labels, unit(family.name), service, family.documentation


def unit(name: str) -> str:
    """What it is counted in; nothing where its name says of what it is a number."""
    return next((words for suffix, words in UNITS.items() if name.endswith(suffix)), "")
