"""The check of who reaches whom finds each fault that it is for: an edge that lacks, and one too many."""

import pytest

from chart import edges
from chart.objects import COMPONENT, name
from chart.planting import GONE, Fault, assert_found, without
from chart.rendering import NEWEST, Render, Rendered

pytestmark = pytest.mark.chart

LABELS = {"app.kubernetes.io/name": "polka", "app.kubernetes.io/instance": "polka"}
SPAMMER = {"podSelector": {"matchLabels": {**LABELS, COMPONENT: "spammer"}}}
CACHE = {"podSelector": {"matchLabels": {**LABELS, COMPONENT: "cache"}}}

FAULTS = [
    Fault("NetworkPolicy/polka-default-deny", "spec.policyTypes", ["Ingress"], "no policy denies it everything"),
    Fault("NetworkPolicy/polka-default-deny", "spec.podSelector", CACHE["podSelector"], "api: no policy denies it"),
    Fault("NetworkPolicy/polka-api", "spec.egress.1", GONE, "api may not leave for postgres:5432"),
    Fault("NetworkPolicy/polka-api", "spec.egress.2.ports.0.port", 8101, "api may not leave for cache:8100"),
    Fault("NetworkPolicy/polka-api", "spec.egress.1.to", GONE, "api may leave for port 5432 outside"),
    Fault("NetworkPolicy/polka-api", "spec.egress.3", {}, "api may leave for any port outside"),
    Fault("NetworkPolicy/polka-api", "spec.egress.0", GONE, "api may not leave for port 53 outside"),
    Fault("NetworkPolicy/polka-api", "spec.egress.0.ports.0", GONE, "api may not leave for port 53 outside"),
    Fault("NetworkPolicy/polka-api", "spec.ingress.0", GONE, "api:8000 does not let spammer in"),
    Fault("NetworkPolicy/polka-api", "spec.ingress.1.from", GONE, "api:8000 lets a stranger in"),
    Fault("NetworkPolicy/polka-api", "spec.ingress.1.from.0", {"podSelector": {}}, "api:8000 lets a stranger in"),
    Fault("NetworkPolicy/polka-api", "spec.ingress.1.from", [SPAMMER], "does not let in whom values name"),
    Fault("NetworkPolicy/polka-api", "spec.ingress.2", GONE, "api:8001 does not let in whom values name"),
    Fault("NetworkPolicy/polka-api", "spec.ingress.2.from", GONE, "api:8001 lets a stranger in"),
    Fault("NetworkPolicy/polka-cache", "spec.ingress.1.ports.0.port", 8100, "cache:8101 does not let in whom values n"),
    Fault("NetworkPolicy/polka-cache", "spec.ingress.0.from.9", SPAMMER, "cache:8100 lets spammer in"),
    Fault("NetworkPolicy/polka-cache", "spec.ingress.0.from.9", {"podSelector": {}}, "cache:8100 lets a stranger in"),
    Fault("NetworkPolicy/polka-cache", "spec.ingress.0.ports", GONE, "cache:22 lets api in"),
    Fault("NetworkPolicy/polka-cache", "spec.egress.2", GONE, "cache may not leave for port 8080 outside"),
    Fault("NetworkPolicy/polka-cache", "spec.egress.2.ports.0.port", 443, "cache may leave for port 443 outside"),
    Fault("NetworkPolicy/polka-api", "spec.egress.3", {"ports": [{"port": 8080}]}, "api may leave for port 8080 out"),
    Fault("NetworkPolicy/polka-api", "spec.egress.3", GONE, "api may not leave for port 4318 outside"),
    Fault("NetworkPolicy/polka-cache", "spec.egress.3", GONE, "cache may not leave for port 4318 outside"),
    Fault("NetworkPolicy/polka-spammer", "spec.egress.1.ports.9", {"port": 22}, "spammer may leave for api:22"),
    Fault("NetworkPolicy/polka-spammer", "spec.egress.1", {"to": [CACHE]}, "spammer may leave for cache:8100"),
    Fault("NetworkPolicy/polka-spammer-worker", "spec.egress.2", GONE, "may not leave for spammer-web:5557"),
    Fault("NetworkPolicy/polka-spammer-web", "spec.ingress.0.ports.0.port", 8089, "lets spammer-worker in"),
    Fault("NetworkPolicy/polka-spammer", "spec.ingress.0", GONE, "spammer:9646 does not let in whom values name"),
    Fault("NetworkPolicy/polka-spammer-web", "spec.ingress.1.from", GONE, "spammer-web:9646 lets a stranger in"),
    Fault("NetworkPolicy/polka-postgres", "spec.ingress.9", {}, "postgres:5432 lets somebody outside in"),
    Fault("NetworkPolicy/polka-test", "spec.egress.3", GONE, "test may not leave for postgres:5432"),
    Fault("Service/polka-api", "spec.ports.0.port", 80, "Service/polka-api has no port 8000"),
    Fault("Deployment/polka-spammer-worker", "container.args", ["spam", "--worker-of=page"], "there is no page"),
    Fault(
        "Job/polka-spammer", "container.args", ["spam", "--url=http://polka-cache:8100"], "cache:8100, which is no e"
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.said)
def test_it_finds(fault: Fault, everything: Rendered) -> None:
    assert_found(edges.faults, everything, fault)


def test_without_guests_everybody_reaches_the_api_and_nothing_else(render: Render) -> None:
    rendered = render("default", NEWEST, 4).copy()
    closed = Fault("NetworkPolicy/polka-api", "spec.ingress.1", GONE, "api:8000 does not let somebody outside in")
    assert_found(edges.faults, rendered.copy(), closed)
    wide = Fault("NetworkPolicy/polka-api", "spec.ingress.1.ports", GONE, "api:22 lets a stranger in")
    assert_found(edges.faults, rendered, wide)


def test_it_finds_a_database_outside_that_cannot_be_reached(render: Render) -> None:
    rendered = render("external-database", NEWEST, 4).copy()
    fault = Fault("NetworkPolicy/polka-cache", "spec.egress.1", GONE, "cache may not leave for port 5432 outside")
    assert_found(edges.faults, rendered, fault)


def test_the_port_at_which_rates_are_published_is_open_to_the_cache_where_they_are_fetched(render: Render) -> None:
    secure = render("default", NEWEST, 4).copy()
    fault = Fault("NetworkPolicy/polka-cache", "spec.egress.2", GONE, "cache may not leave for port 443 outside")
    assert_found(edges.faults, secure, fault)
    offline = render("external-database", NEWEST, 4).copy()
    fault = Fault("NetworkPolicy/polka-cache", "spec.egress.2", {"ports": [{"port": 443}]}, "may leave for port 443")
    assert_found(edges.faults, offline, fault)


@pytest.mark.parametrize("gone", ["NetworkPolicy/polka-migrate", "NetworkPolicy/polka-default-deny"])
def test_it_finds_that_a_policy_is_missing(gone: str, everything: Rendered) -> None:
    assert list(edges.faults(without(everything, gone)))


def test_it_finds_policies_that_values_do_not_want(everything: Rendered) -> None:
    everything.values["networkPolicy"]["enabled"] = False
    assert list(edges.faults(everything)) == ["there are policies, though values say no"]


def test_every_edge_is_in_the_scenario_that_has_everything(everything: Rendered) -> None:
    """So none is passed over because one of its ends is missing."""
    components = {found["metadata"]["labels"][COMPONENT] for found in everything.objects if "Policy" in name(found)}
    assert {end for client, server, _ in edges.EDGES for end in (client, server)} <= components
