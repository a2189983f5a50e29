"""The queries of the chart's dashboards and rules."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from chart.metrics import expressions
from prometheus import CHART, LABELS, RULES

DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
VARIABLES = {**LABELS, "__rate_interval": "30s", "__interval": "5s", "__range": "1m"}
"""The values of a dashboard's variables here. Any other variable means everything."""
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
LABEL_VALUES = re.compile(r"label_values\((.+), *(\w+)\)")
SELECTOR = re.compile(
    r"\b((?:polka|process|python|kube|kubelet|container|node|machine)_\w+|up|\w+:\w+:\w+)(?!\w|\()(\{[^}]*\})?"
)


def of_dashboard(path: Path) -> Iterator[str]:
    """Each query once, with values in place of variables."""
    found = [filled(expression) for expression in expressions(json.loads(path.read_text()))]
    for expression in dict.fromkeys(found):
        if is_values := LABEL_VALUES.fullmatch(expression):
            yield f"group by ({is_values[2]}) ({is_values[1]})"
        elif SELECTOR.search(expression):  # a data source is chosen by a query too
            yield expression


def filled(expression: str) -> str:
    return VARIABLE.sub(lambda found: VARIABLES.get(found[1] or found[2], ".+"), expression).strip()


def rules(path: Path) -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(path.read_text())["groups"]:
        yield from group["rules"]


def of_rules() -> Iterator[str]:
    """The whole expressions of recording rules, and each selector of alerts, because alerts are silent normally."""
    for path in RULES:
        for rule in rules(path):
            if "record" in rule:
                yield rule["expr"]
            else:
                yield from selectors(rule["expr"])


def selectors(expression: str) -> list[str]:
    return [found[0] for found in SELECTOR.finditer(expression)]
