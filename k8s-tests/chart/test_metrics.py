"""Alerts and dashboards, whatever files of them there are: they are well formed, and name metrics that Polka has."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import metrics
from chart.rendering import CHART

pytestmark = pytest.mark.chart

ALERT: dict[str, Any] = {
    "alert": "PolkaQueueIsLong",
    "expr": "max(polka_queue_payments) > 1000 and rate(polka_commit_seconds_count[5m]) > 0",
    "for": "5m",
    "labels": {"severity": "warning"},
    "annotations": {"summary": "Payments wait", "description": "…", "runbook_url": "https://example.com"},
}
DASHBOARD: dict[str, Any] = {
    "panels": [{"panels": [{"targets": [{"expr": 'sum(rate(polka_http_requests_total{status="201"}[1m]))'}]}]}],
    "templating": {"list": [{"query": "label_values(polka_epoch, namespace)"}]},
}


def rules_of(folder: Path, **changes: Any) -> Path:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "polka", "rules": [ALERT | changes]}]}))
    return path


def dashboard_of(folder: Path, **changes: Any) -> Path:
    path = folder / "dashboard.json"
    path.write_text(json.dumps(DASHBOARD | changes))
    return path


def test_the_charts_rules_and_dashboards_have_no_fault() -> None:
    faults = [fault for path in CHART.glob("rules/*.yaml") for fault in metrics.rules_faults(path)]
    faults += [fault for path in CHART.glob("dashboards/*.json") for fault in metrics.dashboard_faults(path)]
    assert faults == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"expr": "polka_queue_payment > 1"}, "nobody exposes polka_queue_payment,"),
        ({"expr": "polka_commit_failures > 1"}, "nobody exposes polka_commit_failures,"),
        ({"expr": ""}, "'' should be non-empty"),
        ({"for": "5 minutes"}, "'5 minutes' does not match"),
        ({"severity": "warning"}, "('severity' was unexpected)"),
        ({"labels": {}}, "its severity is none of warning, critical"),
        ({"annotations": {"summary": "a", "description": "b"}}, "it has no runbook_url"),
    ],
)
def test_it_finds_what_is_wrong_with_a_rule(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert list(metrics.rules_faults(rules_of(tmp_path))) == []
    [fault] = metrics.rules_faults(rules_of(tmp_path, **changes))
    assert said in fault


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"panels": [{"targets": [{"expr": "polka_epochs"}]}]}, "nobody exposes polka_epochs,"),
        ({"templating": {"list": [{"query": "label_values(polka_ups, pod)"}]}}, "nobody exposes polka_ups,"),
    ],
)
def test_it_finds_what_is_wrong_with_a_dashboard(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert list(metrics.dashboard_faults(dashboard_of(tmp_path))) == []
    [fault] = metrics.dashboard_faults(dashboard_of(tmp_path, **changes))
    assert said in fault


def test_promtool_takes_the_charts_rules_and_no_wrong_ones(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on the PATH")

    def says(path: Path) -> int:
        return subprocess.run([promtool, "check", "rules", path], capture_output=True).returncode

    assert says(rules_of(tmp_path, expr="sum(rate(polka_flushes_total[5m])")) != 0
    assert [path.name for path in [rules_of(tmp_path), *CHART.glob("rules/*.yaml")] if says(path)] == []
