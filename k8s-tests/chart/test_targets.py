"""What Prometheus scrapes has the labels that alerts and dashboards go by, and these lead to the runbooks."""

import json

import pytest

from chart import targets
from chart.objects import name, of_kind
from chart.planting import GONE, Fault, assert_found
from chart.rendering import Helm, Rendered

pytestmark = pytest.mark.chart

ENDPOINT = "spec.endpoints.0.relabelings"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("ServiceMonitor/polka-api", ENDPOINT, GONE, "its targets' job is None, not polka-api"),
        Fault("ServiceMonitor/polka-cache", f"{ENDPOINT}.0.replacement", "polka-api", "not polka-cache"),
        Fault("ServiceMonitor/polka-api", f"{ENDPOINT}.1.targetLabel", "instance", "its targets' release is None"),
    ],
)
def test_it_finds_a_target_without_its_labels(fault: Fault, everything: Rendered) -> None:
    assert_found(targets.faults, everything, fault)


def test_alerts_and_dashboards_lead_to_the_runbooks_where_they_are_published(everything: Rendered) -> None:
    published = "https://runbooks.example.com/polka"
    [rule] = of_kind(everything.objects, "PrometheusRule")
    alerts = [alert for group in rule["spec"]["groups"] for alert in group["rules"] if "alert" in alert]
    assert {alert["annotations"]["runbook_url"] for alert in alerts} == {
        f"{published}/{alert['alert']}.md" for alert in alerts
    }
    dashboards = [found for found in of_kind(everything.objects, "ConfigMap") if "-dashboard-" in name(found)]
    assert dashboards
    for dashboard in dashboards:
        [text] = dashboard["data"].values()
        variables = {variable["name"]: variable.get("query") for variable in json.loads(text)["templating"]["list"]}
        assert variables["runbooks"] == published


def test_two_releases_are_told_apart(helm: Helm) -> None:
    values = {"monitoring": {"podMonitor": {"enabled": True}}, "networkPolicy": {"enabled": False}}
    for release in ("one", "two"):
        rendered = helm.template(values, release=release)
        assert len(of_kind(rendered.objects, "PodMonitor")) == 2
        assert list(targets.faults(rendered)) == []
        assert f"replacement: {release}" in str(rendered.objects).replace("'", "")
