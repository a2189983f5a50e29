"""Upgrades: whatever value or version changes, Kubernetes refuses none; with nothing changed, nothing is replaced."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import upgrades
from chart.planting import Fault, planted
from chart.rendering import (
    CHART,
    COMBINATIONS,
    DESCRIPTION,
    HELMS,
    NEWEST,
    SCENARIOS,
    Helm,
    RefusedError,
    Render,
    Rendered,
    Values,
    merged,
)
from chart_readme import Value, values

pytestmark = pytest.mark.chart

OTHER = yaml.safe_load((Path(__file__).parent / "other-values.yaml").read_text())
VALUES = values((CHART / "values.yaml").read_text())
REFUSED = {
    "cache.replicas": "there is one cache",
    "postgres.enabled": "the other database is to be named with it",
    "externalDatabase.maxConnections": "they are fewer than Polka may need",
}
"""Other values that the chart itself refuses, and why."""
FIXED = {
    "postgres.storage.size": "a StatefulSet's claims are made once",
    "postgres.storage.className": "a StatefulSet's claims are made once",
}
"""Values that an upgrade cannot change, and why."""
SILENT = {
    "monitoring.prometheusRule": "rules",
    "monitoring.dashboards": "dashboards",
}
"""Values that change nothing as long as the chart has no files in this folder."""


def other(value: Value) -> Values:
    """The values that change this one."""
    found: Any = OTHER
    for key in value.path:
        found = found[key]
    for key in reversed(value.path):
        found = {key: found}
    result: Values = found
    return result


def is_silent(value: Value) -> bool:
    folder = SILENT.get(".".join(value.path[:2]))
    return folder is not None and not any((CHART / folder).glob("*.*"))


def test_there_is_another_value_for_each() -> None:
    def names(section: Values, above: str = "") -> set[str]:
        known = {value.name for value in VALUES}
        found = set()
        for key, inner in section.items():
            here = f"{above}{key}"
            found |= {here} if here in known or not isinstance(inner, dict) else names(inner, f"{here}.")
        return found

    assert names(OTHER) == {value.name for value in VALUES}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.name)
def test_a_changed_value_has_an_effect_and_none_that_kubernetes_refuses(
    value: Value, helm: Helm, render: Render
) -> None:
    refused = 0
    for scenario in sorted(SCENARIOS, key=lambda name: name != "everything"):
        before = render(scenario, NEWEST, HELMS[0])
        try:
            after = helm.template(merged(SCENARIOS[scenario], other(value)))
        except RefusedError:
            refused += 1
            continue
        if list(upgrades.differences(before, after)):
            found = list(upgrades.faults(before, after))
            assert bool(found) == (value.name in FIXED), found
            assert value.name not in REFUSED
            return
    assert is_silent(value) or (refused and value.name in REFUSED), "it changes nothing in any scenario"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_later_chart_of_a_later_polka_changes_nothing_that_kubernetes_refuses(
    scenario: str, each_helm: Helm, tmp_path: Path
) -> None:
    later = Path(shutil.copytree(CHART, tmp_path / "polka"))
    description = {**DESCRIPTION, "version": "9.9.9", "appVersion": "9.9.9"}
    (later / "Chart.yaml").write_text(yaml.safe_dump(description))
    before = each_helm.template(SCENARIOS[scenario])
    after = each_helm.template(SCENARIOS[scenario], chart=later)
    assert list(upgrades.differences(before, after))
    assert list(upgrades.faults(before, after)) == []


def test_a_later_chart_of_the_same_polka_replaces_no_pod(helm: Helm, render: Render, tmp_path: Path) -> None:
    later = Path(shutil.copytree(CHART, tmp_path / "polka"))
    (later / "Chart.yaml").write_text(yaml.safe_dump({**DESCRIPTION, "version": "9.9.9"}))
    before = render("everything", NEWEST, HELMS[0])
    tagged = helm.template(SCENARIOS["everything"], chart=later)
    assert list(upgrades.replaced_pods(before, tagged)) == []


@pytest.mark.parametrize(
    "dropped", [["monitoring"], ["monitoring", "networkPolicy"], ["ingress"], ["httpRoute"]], ids=str
)
def test_what_is_not_about_pods_replaces_none(dropped: list[str], helm: Helm, render: Render) -> None:
    before = render("everything", NEWEST, HELMS[0])
    after = helm.template({key: chosen for key, chosen in SCENARIOS["everything"].items() if key not in dropped})
    assert list(upgrades.differences(before, after))
    assert list(upgrades.replaced_pods(before, after)) == []


def test_a_spammer_more_replaces_no_pod_that_is_there(helm: Helm, render: Render) -> None:
    """Its key is recorded by another run of the migration's Job."""
    after = helm.template({"spammer": {"enabled": True}})
    jobs = sorted(upgrades.replaced_pods(render("default", NEWEST, HELMS[0]), after))
    assert [job.rpartition("-")[0] for job in jobs] == ["Job/polka-migrate", "Job/polka-spammer"]


@pytest.mark.parametrize(("scenario", "kubernetes", "major"), COMBINATIONS)
def test_a_rendering_is_twice_the_same_and_the_same_by_each_helm(
    scenario: str, kubernetes: str, major: int, helm: Helm, render: Render
) -> None:
    """But for what is drawn by chance: nothing that restarts a pod depends on it."""
    again = helm.template(SCENARIOS[scenario], kubernetes=kubernetes)
    assert list(upgrades.differences(render(scenario, kubernetes, major), again)) == []


CACHE = "StatefulSet/polka-cache"
IMMUTABLE = [
    Fault("Deployment/polka-api", "spec.selector.matchLabels.tier", "front", "polka-api: selector"),
    Fault(CACHE, "spec.selector.matchLabels.tier", "back", "polka-cache: selector"),
    Fault(CACHE, "spec.serviceName", "cache", "polka-cache: serviceName"),
    Fault(CACHE, "spec.podManagementPolicy", "OrderedReady", "polka-cache: podManagementPolicy"),
    Fault("StatefulSet/polka-postgres", "spec.volumeClaimTemplates.0.metadata.labels.version", "2", "volumeClaimTempl"),
    Fault("Job/polka-migrate", "container.image", "polka:2", "template"),
    Fault("Job/polka-spammer", "spec.completions", 2, "completions"),
    Fault("Service/polka-cache", "spec.clusterIP", "None", "polka-cache: clusterIP"),
    Fault("Secret/polka-secrets", "type", "polka.example.com/keys", "polka-secrets: type"),
]


@pytest.mark.parametrize("fault", IMMUTABLE, ids=lambda fault: fault.said)
def test_it_finds_what_kubernetes_refuses(fault: Fault, everything: Rendered) -> None:
    before = everything.copy()
    [said] = upgrades.faults(before, planted(everything, fault))
    assert fault.said in said
    assert said.endswith("cannot be changed")


def test_it_finds_what_is_not_twice_the_same(everything: Rendered) -> None:
    before = everything.copy()
    annotations = {"checksum/secret": "a5f3"}
    path = "spec.template.metadata.annotations"
    after = planted(everything, Fault("Deployment/polka-api", path, annotations, ""))
    assert list(upgrades.differences(before, after)) == ["Deployment/polka-api: it is not twice the same"]
    assert list(upgrades.replaced_pods(before, after)) == ["Deployment/polka-api"]


def test_secrets_are_drawn_anew_where_nobody_can_look_them_up(helm: Helm) -> None:
    """So the test that two renderings are the same does see two of them."""
    one, other = ([found["data"] for found in helm.template({}).objects if found["kind"] == "Secret"] for _ in range(2))
    assert one != other
