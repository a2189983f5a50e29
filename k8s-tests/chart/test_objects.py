"""Every scenario, for the lowest and the highest Kubernetes, by both Helms: it renders, and no check finds a fault."""

import re
from collections.abc import Callable, Iterator

import pytest

from chart import commands, edges, references, restricted, schemas, targets
from chart.objects import workloads
from chart.rendering import (
    CHART,
    DEFAULTS,
    DESCRIPTION,
    NEWEST,
    OLDEST,
    SCENARIOS,
    Helm,
    RefusedError,
    Render,
    Rendered,
)
from polka import __version__
from polka.local import demo

pytestmark = pytest.mark.chart

CHECKS = [schemas.faults, restricted.faults, references.faults, commands.faults, edges.faults, targets.faults]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("kubernetes", [OLDEST, NEWEST])
def test_helm_lints_it_strictly(each_helm: Helm, scenario: str, kubernetes: str) -> None:
    each_helm.run(
        "lint", "--strict", str(CHART), "--values=-", f"--kube-version={kubernetes}", values=SCENARIOS[scenario]
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__module__.rpartition(".")[2])
def test_no_check_finds_a_fault(check: Callable[[Rendered], Iterator[str]], rendered: Rendered) -> None:
    assert list(check(rendered)) == []


def test_every_template_gives_an_object_in_some_scenario(helm: Helm) -> None:
    """Or no check would ever look at it."""
    sources = set()
    for values in SCENARIOS.values():
        manifest = helm.run("template", "polka", str(CHART), "--values=-", values=values)
        sources |= set(re.findall(r"^# Source: polka/(\S+)", manifest, re.MULTILINE))
    templates = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")}
    waiting = {f"templates/monitoring/{kind}.yaml" for kind in ("rules", "dashboards") if not files(kind)}
    assert templates - sources == {"templates/validations.yaml", *waiting}


def files(kind: str) -> list[str]:
    return [path.name for path in (CHART / kind).glob("*.*")]


@pytest.mark.parametrize("release", ["a" * 53, "123", "1e5", "pay.example"])
def test_a_release_of_any_name_is_valid(release: str, helm: Helm) -> None:
    rendered = helm.template(SCENARIOS["everything"], release=release)
    assert list(schemas.faults(rendered)) == []
    assert list(references.faults(rendered)) == []


def test_texts_stay_as_they_are_given(helm: Helm) -> None:
    """Whatever YAML would take them for."""
    text = "90 # 1"
    outside = {"host": "fd00::1", "user": "a b", "name": "c+d", "existingSecret": "123", "passwordKey": "1e5"}
    spammer = {"enabled": True, "mix": f"post={text}", "run": 2}
    rendered = helm.template({"postgres": {"enabled": False}, "externalDatabase": outside, "spammer": spammer})
    variables = {
        variable["name"]: variable["value"] if "value" in variable else variable["valueFrom"]["secretKeyRef"]
        for found in rendered.objects
        if found["kind"] == "StatefulSet"
        for variable in found["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert variables["POLKA_DATABASE_URL"] == "postgresql://a%20b@[fd00::1]:5432/c%2Bd?sslmode=prefer"
    assert variables["PGPASSWORD"] == {"name": "123", "key": "1e5"}
    [job] = [one for one in rendered.objects if "-spammer-" in one["metadata"]["name"] and one["kind"] == "Job"]
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--mix=post={text}" in arguments
    assert any(argument.startswith("--run-name=2-") for argument in arguments)


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, "prefer"),
        ({"caSecret": "ledger-ca"}, "verify-full&sslrootcert=/etc/polka/database/ca.crt"),
        ({"caSecret": "ledger-ca", "sslMode": "verify-ca"}, "verify-ca&sslrootcert=/etc/polka/database/ca.crt"),
        ({"sslMode": "require"}, "require"),
    ],
)
def test_a_database_is_verified_as_soon_as_its_authority_is_given(helm: Helm, given: dict[str, str], mode: str) -> None:
    rendered = helm.template({"postgres": {"enabled": False}, "externalDatabase": {"host": "ledger", **given}})
    urls = {
        entry["value"]
        for workload in workloads(rendered.objects)
        for container in workload.containers()
        for entry in container.get("env", [])
        if entry["name"] == "POLKA_DATABASE_URL"
    }
    assert urls == {f"postgresql://polka@ledger:5432/polka?sslmode={mode}"}


def test_a_spammer_gets_no_key_but_its_own(helm: Helm) -> None:
    """It has a page that others use, and sends its key to whatever answers at the api's address."""
    rendered = helm.template({"spammer": {"enabled": True, "web": {"enabled": True, "workers": 1}}})
    spammers, recorded = [], {}
    for workload in workloads(rendered.objects):
        for container in workload.containers():
            keys = {
                entry["name"]: entry["valueFrom"]["secretKeyRef"]["key"]
                for entry in container.get("env", [])
                if entry["name"] in ("POLKA_KEY", "POLKA_NEW_KEY")
            }
            if "spam" in container.get("args", []):
                spammers.append(keys)
            if new := keys.get("POLKA_NEW_KEY"):
                recorded[new] = {one for one in container["args"] if one.startswith("--scope=")}
    assert spammers == [{"POLKA_KEY": "spammer-key"}] * 3
    assert recorded["spammer-key"] == {f"--scope={scope.value}" for scope in demo.SPAMMER.scopes}
    assert recorded["spammer-key"] < recorded["operator-key"]


@pytest.mark.parametrize("label", ["app.kubernetes.io/name", "app.kubernetes.io/component", "helm.sh/chart"])
def test_labels_that_the_chart_sets_are_not_to_be_given(label: str, helm: Helm) -> None:
    for values in ({"commonLabels": {label: "x"}}, {"api": {"podLabels": {label: "x"}}}):
        with pytest.raises(RefusedError, match="invalid propertyName"):
            helm.template(values)


def test_the_chart_is_of_this_version_of_polka_and_takes_its_image(render: Render) -> None:
    assert DESCRIPTION["appVersion"] == __version__
    assert DEFAULTS["image"]["tag"] == ""
    images = {
        container["image"]
        for found in render("default", NEWEST, 4).objects
        if found["kind"] == "Deployment"
        for container in found["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"polka:{__version__}"}


def test_the_chart_is_for_the_kubernetes_that_it_names_and_later_ones(each_helm: Helm) -> None:
    major, minor, _ = map(int, OLDEST.split("."))
    with pytest.raises(RefusedError, match="incompatible with Kubernetes"):
        each_helm.template({}, kubernetes=f"{major}.{minor - 1}.0")


def test_the_notes_name_what_is_there(helm: Helm) -> None:
    """Every Service, Secret and Secret's key in the commands that an installation ends with."""
    values = {"spammer": {"web": {"enabled": True}}}
    notes = helm.run("install", "polka", str(CHART), "--values=-", "--dry-run=client", values=values)
    notes = notes.partition("\nNOTES:\n")[2]
    rendered = helm.template(values)
    there = {(found["kind"], found["metadata"]["name"]): found for found in rendered.objects}
    for service, port in re.findall(r"service/(\S+) \d+:(\d+)", notes):
        assert int(port) in [open_port["port"] for open_port in there["Service", service]["spec"]["ports"]]
    for secret, key in re.findall(r"get secret (\S+) \\\s+--output jsonpath='\{\.data\.([\w-]+)\}'", notes):
        assert key in there["Secret", secret]["data"]
    assert notes.count("service/") == 2
    assert notes.count("get secret") == 1
