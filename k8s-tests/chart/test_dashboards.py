"""The check of dashboards finds each fault that it is for, and none in the chart's."""

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import dashboards
from chart.planting import GONE, place_in
from chart.rendering import CHART

pytestmark = pytest.mark.chart

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(CHART.glob("dashboards/*.json"))}
ALL = {
    "namespace": ".*",
    "release": ".*",
    "currency": ".*",
    "name": "polka",
    "__rate_interval": "1m",
    "__range": "1h",
}
"""Values as Grafana fills them in where *All* is chosen."""

FAULTS: list[tuple[str, Any, str]] = [
    ("uid", "polka liquidity", "its uid is not 1 to 40 letters"),
    ("uid", "a" * 41, "its uid is not 1 to 40 letters"),
    ("uid", GONE, "its uid is not 1 to 40 letters"),
    ("title", "", "it has no title"),
    ("description", GONE, "it has no description"),
    ("schemaVersion", 30, "its schemaVersion is one from before"),
    ("id", 7, "it has the id of one Grafana"),
    ("templating.list.1.name", "datasource", "there are 2 variables $datasource"),
    ("templating.list.1.name", "namespaces", "there is no variable $namespace"),
    ("templating.list.1.name", "namespaces", "nothing uses $namespaces"),
    ("templating.list.1.type", "interval", "$namespace is a interval"),
    ("templating.list.1.query", "", "$namespace has no query"),
    ("panels.1.id", 1, "2 panels have the id 1"),
    ("panels.1.title", "Through the day", "2 panels have the title Through the day"),
    ("panels.1.gridPos.x", 20, "Owed by banks now lies outside of the 24 columns"),
    ("panels.1.gridPos.h", 0, "Owed by banks now lies outside of the 24 columns"),
    ("panels.1.gridPos.w", 7, "Owed by banks now and Highest since midnight lie over each other"),
    ("panels.1.gridPos.h", 5, "Owed by banks now and Through the day lie over each other"),
    ("panels.1.type", "singlestat", "Owed by banks now: it is a singlestat"),
    ("panels.1.title", "", "2: it has no title"),
    ("panels.1.description", "", "Owed by banks now: it has no description"),
    ("panels.1.datasource", {"type": "prometheus", "uid": "abc"}, "it does not ask the Prometheus that is chosen"),
    ("panels.1.targets.0.datasource", GONE, "it does not ask the Prometheus that is chosen"),
    ("panels.1.fieldConfig.defaults.unit", GONE, "its unit is None"),
    ("panels.1.fieldConfig.defaults.unit", "seconds", "its unit is seconds"),
    ("panels.3.fieldConfig.defaults.thresholds.steps.0.value", 0, "its first threshold has a value"),
    ("panels.3.fieldConfig.defaults.thresholds.steps.1.value", 1, "its thresholds do not rise"),
    ("panels.1.targets", [], "it asks nothing"),
    ("panels.1.targets.0.expr", "", "a query is empty"),
    ("panels.6.targets.1.refId", "A", "two of its queries have the same refId"),
    ("panels.1.targets.0.expr", "polka_owed_minor_units", "it asks polka_owed_minor_units of whatever namespace"),
    ("panels.1.targets.0.expr", 'up{job="$job"}', "there is no variable $job"),
]


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_charts_dashboards_have_no_fault(name: str) -> None:
    assert list(dashboards.faults(DASHBOARDS[name])) == []


def test_no_two_of_them_have_the_same_uid() -> None:
    assert dashboards.same_uids(DASHBOARDS.values()) == []
    assert dashboards.same_uids([{"uid": "a"}, {"uid": "b"}, {"uid": "a"}]) == ["a"]


@pytest.mark.parametrize(("path", "value", "said"), FAULTS, ids=[said for _, _, said in FAULTS])
def test_it_finds(path: str, value: Any, said: str) -> None:
    planted = copy.deepcopy(DASHBOARDS["liquidity"])
    place_in(planted, path.split("."), value)
    assert [fault for fault in dashboards.faults(planted) if said in fault]


def test_promtool_takes_every_query_and_no_wrong_one(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on the PATH")

    def says(*expressions: str) -> int:
        rules = [{"record": f"query{number}", "expr": expression} for number, expression in enumerate(expressions)]
        path = tmp_path / "rules.yaml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        return subprocess.run([promtool, "check", "rules", "--lint=none", path], capture_output=True).returncode

    expressions = [query for each in DASHBOARDS.values() for _, query in dashboards.queries(each, ALL)]
    assert says("sum by (polka_epoch)") != 0
    assert says(*expressions) == 0
