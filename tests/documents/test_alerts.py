"""The chart's alerts: each fires when it should and is quiet otherwise, by promtool, and has its runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import queries
from prometheus import CHART, RULES, program

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
INDEX = RUNBOOKS / "README.md"
CASES = Path(__file__).parent / "alerts"
BURNING = ("PolkaErrorsBurning", "PolkaLatencyBurning")


ALERTS = [rule for path in RULES for rule in queries.rules(path) if "alert" in rule]
"""One may be there twice, as a warning and as critical."""


def title(alert: dict[str, Any]) -> str:
    return f"{alert['alert']}-{alert['labels']['severity']}"


@pytest.mark.parametrize("cases", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_alert_fires_and_is_quiet_as_its_cases_say(cases: Path) -> None:
    done = subprocess.run([program("promtool"), "test", "rules", cases], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=title)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_quiet(alert: dict[str, Any]) -> None:
    cases = yaml.safe_load((CASES / f"{alert['alert']}.yaml").read_text())["tests"]
    fired = {
        alert["labels"]["severity"] in [expected["exp_labels"]["severity"] for expected in moment["exp_alerts"]]
        for case in cases
        for moment in case["alert_rule_test"]
        if moment["alertname"] == alert["alert"]
    }
    assert fired == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=title)
def test_every_alert_names_its_runbook(alert: dict[str, Any]) -> None:
    url = alert["annotations"]["runbook_url"]
    assert url == f"docs/runbooks/{alert['alert']}.md"
    assert (ROOT / url).read_text().startswith(f"# {alert['alert']}\n")


def test_every_runbook_and_every_case_is_of_an_alert_and_the_index_has_them_all() -> None:
    names = {alert["alert"] for alert in ALERTS}
    assert {path.stem for path in RUNBOOKS.glob("*.md") if path != INDEX} == names
    assert {path.stem for path in CASES.glob("*.yaml")} == names
    assert [name for name in names if f"({name}.md)" not in INDEX.read_text()] == []


def test_what_the_cases_of_errors_show_holds_for_every_window_and_for_latency() -> None:
    """The rules of all windows are alike, and the alerts of both objectives: cases of one speak for the others."""
    rules = list(queries.rules(CHART / "rules" / "payments.yaml"))
    recorded = [(rule["record"], rule["expr"]) for rule in rules if "record" in rule]
    window = re.compile(r"(?<=rate)\d+[mhd]$|(?<=\[)\d+[mhd](?=\])")
    assert len({(window.sub("", name), window.sub("", expression)) for name, expression in recorded}) == 2
    for name, expression in recorded:
        assert len({*window.findall(name), *window.findall(expression)}) == 1
    burning = {alert: [rule["expr"] for rule in rules if rule.get("alert") == alert] for alert in BURNING}
    errors, latency = burning.values()
    assert [expression.replace("_errors:", "_slow:").replace("0.001", "0.01") for expression in errors] == latency
