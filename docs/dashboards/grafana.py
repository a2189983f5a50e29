"""Dashboards in Grafana's form, from the facts of a panel: title, meaning, queries, unit, and limits."""

from collections.abc import Iterable, Iterator, Sequence
from string import ascii_uppercase
from typing import Any

COLUMNS = 24
"""Of Grafana's grid."""
SCHEMA_VERSION = 39
"""The schema of Grafana 10.4. Later versions update a dashboard while loading."""
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
TAG = "polka"
LATEST = {"calcs": ["lastNotNull"], "fields": "", "values": False}

Json = dict[str, Any]
Queries = Iterable[tuple[str, str]]
"""Each with the name of its series."""
Steps = Sequence[tuple[float, str]]
"""The values from which a figure has each colour. Below the first value the colour is green."""


def dashboard(uid: str, title: str, description: str, variables: list[Json], *rows: Json, span: str = "now-1h") -> Json:
    """A whole dashboard, its rows below each other."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": span, "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "Polka",
                "tags": [TAG],
                "asDropdown": True,
                "icon": "external link",
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "tooltip": "Polka's other dashboards, for the same time and choice",
                "url": "",
            }
        ],
        "templating": {"list": variables},
        "annotations": {"list": []},
        "panels": list(placed(rows)),
    }


def placed(rows: Iterable[Json]) -> Iterator[Json]:
    """Rows and their panels with a number and a place each: from left to right, and on below where a line is full."""
    number = top = 0
    for each in rows:
        number += 1
        yield {"id": number, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}, **each, "panels": []}
        top, left, height = top + 1, 0, 0
        for panel in each["panels"]:
            number += 1
            size = panel["gridPos"]
            if left + size["w"] > COLUMNS:
                top, left, height = top + height, 0, 0
            yield {"id": number, **panel, "gridPos": {"x": left, "y": top, **size}}
            left, height = left + size["w"], max(height, size["h"])
        top += height


def row(title: str, *panels: Json) -> Json:
    return {"type": "row", "title": title, "collapsed": False, "panels": panels}


def figure(
    title: str,
    query: str,
    unit: str,
    description: str,
    *,
    steps: Steps = (),
    legend: str = "",
    words: dict[str, str] | None = None,
    nothing: str = "no data",
    runbooks: Iterable[str] = (),
    width: int = 4,
) -> Json:
    """The value of now, large, with its name if there is a legend. `words` stand in place of values, and `nothing`
    where there is none."""
    options = {
        "colorMode": "background_solid" if steps else "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": LATEST,
        "textMode": "value_and_name" if legend else "auto",
    }
    mappings = [{"type": "value", "options": {value: {"text": text} for value, text in (words or {}).items()}}]
    defaults = {"unit": unit, "thresholds": thresholds(steps), "noValue": nothing, "mappings": mappings}
    return {
        **panel("stat", title, description, runbooks, width, height=4),
        "targets": targets([(query, legend)], instant=True),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def lines(
    title: str,
    queries: Queries,
    unit: str,
    description: str,
    *,
    steps: Steps = (),
    stacked: bool = False,
    lowest: float | None = 0,
    runbooks: Iterable[str] = (),
    width: int = 8,
) -> Json:
    """How values went. Each step is a dashed line."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": 40 if stacked else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    defaults = {
        "unit": unit,
        "color": {"mode": "palette-classic"},
        "thresholds": thresholds(steps),
        "custom": custom,
        **({} if lowest is None else {"min": lowest}),
    }
    return {
        **panel("timeseries", title, description, runbooks, width, height=8),
        "targets": targets(queries, instant=False),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "legend": {
                "calcs": ["lastNotNull", "max"],
                "displayMode": "table",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def bars(
    title: str,
    queries: Queries,
    unit: str,
    description: str,
    *,
    steps: Steps = (),
    highest: float | None = None,
    runbooks: Iterable[str] = (),
    width: int = 8,
) -> Json:
    """The values of now below each other, as bars."""
    defaults = {
        "unit": unit,
        "thresholds": thresholds(steps),
        **({} if highest is None else {"min": 0, "max": highest}),
    }
    return {
        **panel("bargauge", title, description, runbooks, width, height=8),
        "targets": targets(queries, instant=True),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {
            "displayMode": "basic",
            "orientation": "horizontal",
            "reduceOptions": LATEST,
            "showUnfilled": True,
            "valueMode": "color",
        },
    }


def panel(kind: str, title: str, description: str, runbooks: Iterable[str], width: int, height: int) -> Json:
    links = [
        {"title": f"Runbook of {alert}", "url": f"${{runbooks}}/{alert}.md", "targetBlank": True} for alert in runbooks
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "links": links,
    }


def targets(queries: Queries, *, instant: bool) -> list[Json]:
    return [
        {
            "refId": letter,
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend or "__auto",
            "instant": instant,
            "range": not instant,
        }
        for letter, (expression, legend) in zip(ascii_uppercase, queries, strict=False)
    ]


def thresholds(steps: Steps) -> Json:
    return {
        "mode": "absolute",
        "steps": [
            {"color": "green", "value": None},
            *({"color": color, "value": value} for value, color in steps),
        ],
    }


def datasource() -> Json:
    """The choice of a Prometheus."""
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1}


def constant(name: str, value: str) -> Json:
    return {"type": "constant", "name": name, "query": value, "hide": 2, "skipUrlSync": True}


def choice(
    name: str, label: str, query: str, *, part: str = "", everything: str | None = ".*", hidden: bool = False
) -> Json:
    """A choice among the values of a label. `part` is a regular expression, whose group is taken from each value.

    *All*, the initial choice, stands for `everything`. The default of `everything` also includes series without the
    label. None stands for each existing value.
    """
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": query,
        "regex": part,
        "refresh": 2,
        "hide": 2 if hidden else 0,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        **({} if everything is None else {"allValue": everything}),
    }
