"""Dashboards as Grafana takes them: what it does not understand it shows empty, or not at all, and says nothing."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Json = dict[str, Any]

SCHEMA = jsonschema.Draft202012Validator(
    yaml.load((Path(__file__).parent / "grafana.yaml").read_text(), yaml.CSafeLoader)
)
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
COLUMNS = 24
OURS = ('namespace=~"$namespace"', 'release=~"$release"')
POLKAS = re.compile(r"\b(polka_\w+)(\{[^}]*\})?")
USE = re.compile(r"\$(?:\{(\w+)[^}]*\}|([A-Za-z_]\w*))")
GIVEN = ("__all", "__interval", "__range", "__rate_interval")
"""What Grafana fills in by itself."""


def faults(dashboard: Json) -> Iterator[str]:
    if shape := list(shape_faults(dashboard)):
        yield from shape
        return
    yield from variable_faults(dashboard)
    yield from place_faults(dashboard["panels"])
    for panel in dashboard["panels"]:
        yield from (f"{panel['title']}: {fault}" for fault in panel_faults(panel))


def shape_faults(dashboard: Json) -> Iterator[str]:
    for error in SCHEMA.iter_errors(dashboard):
        yield f"{'.'.join(map(str, error.path))}: {error.message}"


def variable_faults(dashboard: Json) -> Iterator[str]:
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    yield from (f"there are {count} variables ${name}" for name, count in Counter(names).items() if count > 1)
    used = {long or short for long, short in USE.findall(json.dumps(dashboard))}
    yield from (f"there is no variable ${name}" for name in sorted(used - {*names, *GIVEN}))
    yield from (f"nothing uses ${name}" for name in names if name not in used)


def place_faults(panels: list[Json]) -> Iterator[str]:
    for what in ("id", "title"):
        counts = Counter(panel[what] for panel in panels)
        yield from (f"{count} panels have the {what} {value}" for value, count in counts.items() if count > 1)
    for panel in panels:
        if panel["gridPos"]["x"] + panel["gridPos"]["w"] > COLUMNS:
            yield f"{panel['title']} goes beyond the {COLUMNS} columns"
    for one, other in itertools.combinations(panels, 2):
        if overlap(one["gridPos"], other["gridPos"]):
            yield f"{one['title']} and {other['title']} lie over each other"


def overlap(one: Json, other: Json) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def panel_faults(panel: Json) -> Iterator[str]:
    if panel["type"] == "row":
        return
    _, *values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
    if values != sorted(set(values)):
        yield "its thresholds do not rise"
    if len({target["refId"] for target in panel["targets"]}) < len(panel["targets"]):
        yield "two of its queries have the same refId"
    for link in panel["links"]:
        if not (RUNBOOKS / link["url"].removeprefix("${runbooks}/")).is_file():
            yield f"there is no runbook {link['url']}"
    for target in panel["targets"]:
        if target["instant"] == target["range"]:
            yield "a query is either for now or over time"
        yield from selector_faults(target["expr"])


def selector_faults(expression: str) -> Iterator[str]:
    """A query that leaves namespace or release out adds up what different Polkas have."""
    for metric, selector in POLKAS.findall(expression):
        if not all(chosen in selector for chosen in OURS):
            yield f"it asks {metric} of whatever namespace and release"


def same_uids(dashboards: Iterable[Json]) -> list[str]:
    """The uids that two of them have: Grafana would keep the one that it reads last."""
    return [uid for uid, count in Counter(dashboard["uid"] for dashboard in dashboards).items() if count > 1]


def queries(dashboard: Json, values: dict[str, str]) -> list[str]:
    """What Grafana asks when these are the values of its variables."""
    return [filled(target["expr"], values) for panel in dashboard["panels"] for target in panel.get("targets", [])]


def filled(expression: str, values: dict[str, str]) -> str:
    return USE.sub(lambda use: values[use[1] or use[2]], expression)
