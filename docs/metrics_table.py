"""The table of all metrics, as the code says them: their names, types, labels, units, and who serves them."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

import api.metrics
import cache.metrics
import polka.edge.bounds
import polka.service.instrumentation
import polka.service.metrics
from polka.service.counting import Labelled
from spammer.metrics import Spammed
from spammer.tally import Tally

SERVICES = {
    "api": (api.metrics,),
    "cache": (cache.metrics,),
    "api, cache": (polka.edge.bounds, polka.service.instrumentation, polka.service.metrics),
}
UNITS = {
    "_timestamp_seconds": "seconds since 1970",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_minor_units": "minor units of the currency",
    "_ratio": "1 is all of it",
}
HEAD = ("Metric", "Type", "Labels", "Unit", "Served by", "Meaning")


def rows() -> Iterator[tuple[str, ...]]:
    """A row for each metric, service by service, in the order of their names."""
    for service, modules in SERVICES.items():
        yield from sorted(row(service, *found) for module in modules for found in metrics(module))
    yield from sorted(row("spammer", family, family) for family in Spammed(Tally, lambda: 0).collect())


def metrics(module: ModuleType) -> Iterator[tuple[Any, Any]]:
    """Each family, and who has its labels' names: a metric of prometheus-client, or the family itself."""
    for value in vars(module).values():
        if isinstance(value, MetricWrapperBase):
            yield from ((family, value) for family in value.describe())
        elif isinstance(value, Labelled):
            yield from ((family, family) for family in value.collect())


def row(service: str, family: Any, labelled: Any) -> tuple[str, ...]:
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{label}`" for label in labelled._labelnames)
    return f"`{name}`", family.type, labels, unit(family.name), service, family.documentation


def unit(name: str) -> str:
    """The unit of the metric; empty if the name itself names the counted things."""
    return next((words for suffix, words in UNITS.items() if name.endswith(suffix)), "")
