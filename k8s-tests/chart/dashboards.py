"""Dashboards as Grafana takes them: what it does not understand it shows empty, or not at all, and says nothing."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]

COLUMNS = 24
KINDS = ("bargauge", "stat", "timeseries")
UNITS = ("Bps", "bytes", "locale", "percentunit", "reqps", "s", "short")
"""Grafana's that are used; suffix:… is one's own. What it does not know it shows as a word behind the figure."""
VARIABLES = ("constant", "datasource", "query")
OURS = ('namespace=~"$namespace"', 'release=~"$release"')
POLKAS = re.compile(r"\b(polka_\w+)(\{[^}]*\})?")
USE = re.compile(r"\$(?:\{(\w+)[^}]*\}|(\w+))")
UID = re.compile(r"[\w-]{1,40}")
GIVEN = ("__all", "__interval", "__range", "__rate_interval")
"""What Grafana fills in by itself."""


def faults(dashboard: Json) -> Iterator[str]:
    yield from head_faults(dashboard)
    yield from variable_faults(dashboard)
    yield from place_faults(dashboard["panels"])
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield from (f"{panel['title'] or panel['id']}: {fault}" for fault in panel_faults(panel))


def head_faults(dashboard: Json) -> Iterator[str]:
    """What Grafana finds a dashboard by, again after an upgrade, and what it brings up to date by itself."""
    if not UID.fullmatch(dashboard.get("uid", "")):
        yield "its uid is not 1 to 40 letters, digits, - or _"
    for text in ("title", "description"):
        if not dashboard.get(text):
            yield f"it has no {text}"
    if dashboard.get("schemaVersion", 0) < 36:
        yield "its schemaVersion is one from before data sources had a type and a uid"
    if dashboard.get("id") is not None:
        yield "it has the id of one Grafana"


def variable_faults(dashboard: Json) -> Iterator[str]:
    variables = dashboard["templating"]["list"]
    names = [variable["name"] for variable in variables]
    for name, count in Counter(names).items():
        if count > 1:
            yield f"there are {count} variables ${name}"
    for variable in variables:
        if variable["type"] not in VARIABLES:
            yield f"${variable['name']} is a {variable['type']}"
        if not variable.get("query"):
            yield f"${variable['name']} has no query"
    used = {name for part in (dashboard["panels"], variables) for name in names_used(part)}
    yield from (f"there is no variable ${name}" for name in sorted(used - {*names, *GIVEN}))
    yield from (f"nothing uses ${name}" for name in names if name not in used)


def names_used(part: Any) -> set[str]:
    return {long or short for long, short in USE.findall(json.dumps(part))}


def place_faults(panels: list[Json]) -> Iterator[str]:
    for number, count in Counter(panel["id"] for panel in panels).items():
        if count > 1:
            yield f"{count} panels have the id {number}"
    for title, count in Counter(panel["title"] for panel in panels).items():
        if count > 1:
            yield f"{count} panels have the title {title}"
    for panel in panels:
        place = panel["gridPos"]
        if min(place["w"], place["h"]) < 1 or min(place["x"], place["y"]) < 0 or place["x"] + place["w"] > COLUMNS:
            yield f"{panel['title']} lies outside of the {COLUMNS} columns"
    for one, other in itertools.combinations(panels, 2):
        if overlap(one["gridPos"], other["gridPos"]):
            yield f"{one['title']} and {other['title']} lie over each other"


def overlap(one: Json, other: Json) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "w"), ("y", "h"))
    )


def panel_faults(panel: Json) -> Iterator[str]:
    """A panel says what it means, in which unit, and asks the chosen Prometheus for the chosen Polka."""
    if panel["type"] not in KINDS:
        yield f"it is a {panel['type']}"
    for text in ("title", "description"):
        if not panel.get(text):
            yield f"it has no {text}"
    defaults = panel["fieldConfig"]["defaults"]
    if (unit := defaults.get("unit")) not in UNITS and not str(unit).startswith("suffix:"):
        yield f"its unit is {unit}"
    yield from step_faults(defaults["thresholds"]["steps"])
    if not panel["targets"]:
        yield "it asks nothing"
    if len({target["refId"] for target in panel["targets"]}) < len(panel["targets"]):
        yield "two of its queries have the same refId"
    for asking in (panel, *panel["targets"]):
        if asking.get("datasource") != {"type": "prometheus", "uid": "${datasource}"}:
            yield "it does not ask the Prometheus that is chosen"
    for target in panel["targets"]:
        if not target.get("expr"):
            yield "a query is empty"
        yield from selector_faults(target.get("expr", ""))


def step_faults(steps: list[Json]) -> Iterator[str]:
    first, *values = [step["value"] for step in steps]
    if first is not None:
        yield "its first threshold has a value"
    if values != sorted(set(values)):
        yield "its thresholds do not rise"


def selector_faults(expression: str) -> Iterator[str]:
    """A query that leaves namespace or release out adds up what different Polkas have."""
    for metric, selector in POLKAS.findall(expression):
        if not all(chosen in selector for chosen in OURS):
            yield f"it asks {metric} of whatever namespace and release"


def queries(dashboard: Json, values: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Each panel's title with each of its queries, as Grafana sends it when these are chosen."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], filled(target["expr"], values)


def filled(text: str, values: dict[str, str]) -> str:
    return USE.sub(lambda use: values[use[1] or use[2]], text)


def same_uids(dashboards: Iterable[Json]) -> list[str]:
    """The uids that two of them have: Grafana would keep the one that it reads last."""
    return [uid for uid, count in Counter(dashboard["uid"] for dashboard in dashboards).items() if count > 1]
