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

STEPS = "panels.3.fieldConfig.defaults.thresholds.steps"
FAULTS: list[tuple[str, Any, str]] = [
    ("uid", "polka liquidity", "uid: 'polka liquidity' does not match"),
    ("uid", GONE, "'uid' is a required property"),
    ("title", "", "title: '' should be non-empty"),
    ("id", 7, "'id' was unexpected"),
    ("schemaVersion", 30, "schemaVersion: 30 is less than the minimum of 36"),
    ("templating.list.1.type", "interval", "templating.list.1.type: 'interval' is not one of"),
    ("templating.list.1.query", "", "templating.list.1.query: '' should be non-empty"),
    ("templating.list.1.name", "datasource", "there are 2 variables $datasource"),
    ("templating.list.1.name", "namespaces", "there is no variable $namespace"),
    ("templating.list.1.name", "namespaces", "nothing uses $namespaces"),
    ("panels.1.type", "singlestat", "panels.1.type: 'singlestat' is not one of"),
    ("panels.1.description", GONE, "panels.1: 'description' is a required property"),
    (
        "panels.1.datasource.uid",
        "abc",
        "panels.1.datasource: {'type': 'prometheus', 'uid': '${datasource}'} was expected",
    ),
    ("panels.1.fieldConfig.defaults.unit", "seconds", "panels.1.fieldConfig.defaults.unit: 'seconds' does not match"),
    ("panels.1.fieldConfig.defaults.mapping", [], "('mapping' was unexpected)"),
    ("panels.1.options.colorMode", "backgrounds", "panels.1.options.colorMode: 'backgrounds' is not one of"),
    ("panels.6.options.colorMode", "background", "('colorMode' was unexpected)"),
    ("panels.6.fieldConfig.defaults.custom.lineWith", 2, "('lineWith' was unexpected)"),
    ("panels.1.targets", [], "panels.1.targets: [] should be non-empty"),
    ("panels.1.targets.0.expr", "", "panels.1.targets.0.expr: '' should be non-empty"),
    ("panels.1.targets.0.range", True, "Owed by banks now: a query is either for now or over time"),
    ("panels.6.targets.1.refId", "A", "Owed by banks: two of its queries have the same refId"),
    ("panels.1.targets.0.expr", 'up{job="$job"}', "there is no variable $job"),
    ("panels.1.targets.0.expr", "polka_epoch", "it asks polka_epoch of whatever namespace and release"),
    ("panels.1.targets.0.expr", 'polka_epoch{release=~"$release"}', "it asks polka_epoch of whatever namespace"),
    (f"{STEPS}.0.value", 0, "steps.0.value: 0 is not of type 'null'"),
    (f"{STEPS}.1.value", 1, "Cap in use, at most: its thresholds do not rise"),
    ("panels.3.links.0.url", "${runbooks}/PolkaCap.md", "there is no runbook ${runbooks}/PolkaCap.md"),
    ("panels.1.id", 1, "2 panels have the id 1"),
    ("panels.1.title", "Through the day", "2 panels have the title Through the day"),
    ("panels.1.gridPos.h", 0, "panels.1.gridPos.h: 0 is less than the minimum of 1"),
    ("panels.1.gridPos.x", 20, "Owed by banks now goes beyond the 24 columns"),
    ("panels.1.gridPos.w", 9, "Owed by banks now and Highest since midnight lie over each other"),
    ("panels.1.gridPos.h", 5, "Owed by banks now and Through the day lie over each other"),
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

    expressions = [query for each in DASHBOARDS.values() for query in dashboards.queries(each, ALL)]
    assert says("sum by (polka_epoch)") != 0
    assert says(*expressions) == 0


def test_figures_of_kubernetes_are_those_of_the_release_alone(tmp_path: Path) -> None:
    """Every query finds something among the series of a cluster, and what the figures say is worked out by hand."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on the PATH")
    dashboard = DASHBOARDS["kubernetes"]
    values = ALL | {"__rate_interval": "5m"}
    figures = {
        panel["title"]: dashboards.filled(panel["targets"][0]["expr"], values)
        for panel in dashboard["panels"]
        if panel["type"] == "stat"
    }
    tests = [(f"count({query}) > bool 0", 1.0) for query in dashboards.queries(dashboard, values)]
    tests += [
        (figures.pop("Pods that are not ready"), 2),
        (figures.pop("Apis that are available"), 0.25),
        (f"round({figures.pop('Restarts in the last hour')})", 1),
        (figures.pop("Out of memory"), 1),
        (figures.pop("Jobs that failed"), 0),
        (figures.pop("Fullest volume"), 0.72),
    ]
    assert figures == {}
    expected = [
        {"expr": query, "eval_time": "2h", "exp_samples": [{"labels": "{}", "value": value}]} for query, value in tests
    ]
    path = tmp_path / "test.yaml"
    series = yaml.safe_load((Path(__file__).parent / "kubernetes-series.yaml").read_text())
    path.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": expected}]})
    )
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
