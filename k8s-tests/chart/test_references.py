"""The check of what objects name finds each fault that it is for."""

import pytest

from chart import references
from chart.objects import COMPONENT, name
from chart.planting import GONE, Fault, assert_found, without
from chart.rendering import NEWEST, Render, Rendered

pytestmark = pytest.mark.chart

API = "Deployment/polka-api"
LABELS = {"app.kubernetes.io/name": "polka", "app.kubernetes.io/instance": "polka"}

FAULTS = [
    Fault(
        "Service/polka-api",
        "spec.selector",
        {**LABELS, COMPONENT: "web"},
        "Service/polka-api: its selector hits nothing",
    ),
    Fault("Service/polka-api", "spec.selector", LABELS, "Service/polka-api: its selector hits api, cache, migrate"),
    Fault("Service/polka-api", "spec.ports.0.targetPort", "web", "Deployment/polka-api has no port web"),
    Fault("Service/polka-cache", "spec.ports.0.targetPort", 8100, "StatefulSet/polka-cache has no port 8100"),
    Fault("PodDisruptionBudget/polka-api", "spec.selector.matchLabels", LABELS, "polka-api: its selector hits api, ca"),
    Fault("NetworkPolicy/polka-cache", "spec.podSelector.matchLabels.tier", "back", "polka-cache: its selector hits n"),
    Fault("ServiceMonitor/polka-api", "spec.selector.matchLabels", LABELS, "its selector hits is of Service/"),
    Fault("ServiceMonitor/polka-api", "spec.endpoints.0.port", "web", "the port web that its selector hits is of none"),
    Fault("ServiceMonitor/polka-spammer", "spec.endpoints.0.port", "http", "the port http that its selector hits is o"),
    Fault("HorizontalPodAutoscaler/polka-api", "spec.scaleTargetRef.name", "api", "there is no Deployment/api"),
    Fault("HorizontalPodAutoscaler/polka-api", "spec.metrics.0.containerResource.container", "a", "no container a"),
    Fault(API, "container.resources.requests", {"memory": "1Gi"}, "has no container api that asks for cpu"),
    Fault(API, "spec.replicas", 2, "Deployment/polka-api sets its replicas, too"),
    Fault("Ingress/polka-api", "spec.rules.0.http.paths.0.backend.service.name", "api", "there is no Service/api"),
    Fault("Ingress/polka-api", "spec.rules.0.http.paths.0.backend.service.port.name", "web", "has no port web"),
    Fault("HTTPRoute/polka-api", "spec.rules.0.backendRefs.0.name", "api", "there is no Service/api"),
    Fault("HTTPRoute/polka-api", "spec.rules.0.backendRefs.0.port", 80, "Service/polka-api has no port 80"),
    Fault(API, "spec.selector.matchLabels.tier", "front", "its selector does not hit its own pods"),
    Fault(API, "spec.selector.matchLabels", LABELS, "Deployment/polka-api: its selector hits Deployment/polka-api, "),
    Fault(API, "pod.topologySpreadConstraints.0.labelSelector.matchLabels.tier", "a", "it spreads other pods than its"),
    Fault("StatefulSet/polka-cache", "spec.serviceName", "cache", "there is no Service/cache"),
    Fault(API, "pod.serviceAccountName", "polka", "there is no ServiceAccount/polka"),
    Fault("StatefulSet/polka-postgres", "container.volumeMounts.0.name", "disk", "there is no volume disk"),
    Fault("StatefulSet/polka-postgres", "container.volumeMounts.0.name", "disk", "nobody mounts the volume data"),
    Fault("Job/polka-spammer", "pod.volumes", GONE, "there is no volume tmp"),
    Fault(API, "pod.volumes", [{"name": "a", "secret": {"secretName": "b"}}], "there is no Secret/b"),
    Fault(API, "pod.volumes", [{"name": "a", "configMap": {"name": "b"}}], "there is no ConfigMap/b"),
    Fault("Secret/polka-secrets", "data.cache-token", GONE, "Secret/polka-secrets has no key cache-token"),
    Fault("Secret/polka-postgres", "metadata.name", "postgres", "there is no Secret/polka-postgres"),
    Fault(API, "container.env.0.name", "PGPASSWORD", "PGPASSWORD is set 2 times"),
    Fault(API, "container.readinessProbe.httpGet.port", "web", "its readinessProbe asks the port web"),
    Fault("Service/polka-cache", "metadata.name", "polka-api", "Service/polka-api: there are 2"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.said)
def test_it_finds(fault: Fault, everything: Rendered) -> None:
    assert_found(references.faults, everything, fault)


def test_it_finds_a_pod_monitor_that_hits_nothing(render: Render) -> None:
    rendered = render("external-database", NEWEST, 4).copy()
    fault = Fault("PodMonitor/polka-cache", "spec.selector.matchLabels", {**LABELS, COMPONENT: "a"}, "hits nothing")
    assert_found(references.faults, rendered, fault)


def test_it_finds_a_secret_that_values_name_no_more(render: Render) -> None:
    rendered = render("external-database", NEWEST, 4).copy()
    rendered.values["externalDatabase"]["caSecret"] = ""
    assert "Deployment/polka-api: there is no Secret/ledger-ca" in list(references.faults(rendered))


@pytest.mark.parametrize("gone", ["Service/polka-cache", "ServiceAccount/payments", "Secret/polka-postgres"])
def test_it_finds_that_something_is_missing(gone: str, everything: Rendered) -> None:
    everything.values["serviceAccount"]["name"] = ""
    assert gone in map(name, everything.objects)
    assert any(said.endswith(f"there is no {gone}") for said in references.faults(without(everything, gone)))
