"""Alerts and dashboards against what Polka exposes: a panel about a metric that nobody has stays empty for ever."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from prometheus_client import REGISTRY

import api.app  # noqa: F401  # its metrics are in the registry once it is imported
import cache.app  # noqa: F401
from chart.schemas import CUSTOM_RESOURCES, custom_resource
from spammer.metrics import Spammed
from spammer.tally import Tally

METRIC = re.compile(r"\bpolka_\w+(?![\w:]*:)")
RULE = "monitoring.coreos.com/v1/PrometheusRule"
SEVERITIES = ("warning", "critical")


def exposed() -> set[str]:
    """The names of all samples that the api, the cache or the spammer may have."""
    names = set()
    for family in (*REGISTRY.collect(), *Spammed(Tally, lambda: 0).collect()):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def unknown_metrics(expressions: Iterator[str] | list[str]) -> Iterator[str]:
    for expression in expressions:
        for metric in METRIC.findall(expression):
            if metric not in exposed():
                yield f"nobody exposes {metric}, which {expression!r} names"


def rules_faults(path: Path) -> Iterator[str]:
    """A file of rules: groups as the Prometheus operator takes them, each alert with what one needs at night."""
    rules = yaml.safe_load(path.read_text())
    schema = custom_resource(RULE)["properties"]["spec"] | {"definitions": CUSTOM_RESOURCES["definitions"]}
    try:
        jsonschema.validate(rules, schema)
    except jsonschema.ValidationError as error:
        yield f"{path.name}: {'.'.join(map(str, error.path))}: {error.message}"
        return
    for rule in [rule for group in rules["groups"] for rule in group["rules"]]:
        named = rule.get("alert") or rule["record"]
        yield from (f"{path.name}, {named}: {fault}" for fault in unknown_metrics([rule["expr"]]))
        if "alert" in rule:
            yield from (f"{path.name}, {named}: {fault}" for fault in alert_faults(rule))


def alert_faults(rule: dict[str, Any]) -> Iterator[str]:
    if rule["labels"].get("severity") not in SEVERITIES:
        yield f"its severity is none of {', '.join(SEVERITIES)}"
    for annotation in ("summary", "description", "runbook_url"):
        if not rule["annotations"].get(annotation):
            yield f"it has no {annotation}"


def dashboard_faults(path: Path) -> Iterator[str]:
    """A dashboard: its every query names metrics that there are. For the rest of it there is dashboards.py."""
    dashboard = json.loads(path.read_text())
    yield from (f"{path.name}: {fault}" for fault in unknown_metrics(list(expressions(dashboard))))


def expressions(part: Any) -> Iterator[str]:
    """All queries, however deep: of panels, of variables and of annotations."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key in ("expr", "query", "definition") and isinstance(value, str):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(part, list):
        for value in part:
            yield from expressions(value)
