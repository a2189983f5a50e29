"""The check against the schemas of Kubernetes and of custom resources finds each fault that it is for."""

import pytest

from chart import schemas
from chart.planting import GONE, Fault, assert_found
from chart.rendering import NEWEST, OLDEST, Rendered

pytestmark = pytest.mark.chart

FAULTS = [
    Fault("Deployment/polka-api", "spec.replica", 2, "('replica' was unexpected)"),
    Fault("Deployment/polka-api", "container.ports.0.containerPort", "8000", "'8000' is not of type 'integer'"),
    Fault("Service/polka-api", "spec.ports.0.targetport", "http", "('targetport' was unexpected)"),
    Fault("Job/polka-migrate", "spec.template.spec.containers", GONE, "'containers' is a required property"),
    Fault("Service/polka-api", "apiVersion", "v1beta1", "Couldn't find schema for kind Service"),
    Fault("Service/polka-api", "metadata.name", "a" * 64, "longer than 63 characters"),
    Fault("StatefulSet/polka-cache", "metadata.name", "a" * 53, "longer than 52 characters"),
    Fault("ServiceMonitor/polka-api", "spec.endpoints.0.intervall", "15s", "('intervall' was unexpected)"),
    Fault("ServiceMonitor/polka-api", "spec.endpoints.0.interval", "15", "'15' does not match"),
    Fault("HTTPRoute/polka-api", "spec.parentRefs", [], "[] should be non-empty"),
    Fault("HTTPRoute/polka-api", "spec.hostnames.0", "polka.example.com:443", "does not match"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.said)
def test_it_finds(fault: Fault, everything: Rendered) -> None:
    assert_found(schemas.faults, everything, fault)


def test_it_knows_what_an_older_kubernetes_does_not(everything: Rendered) -> None:
    """A field of pods that came after the lowest version: so both are really looked at."""
    fault = Fault("Deployment/polka-api", "pod.hostnameOverride", "polka", "('hostnameOverride' was unexpected)")
    assert_found(schemas.faults, Rendered(everything.objects, everything.values, OLDEST), fault)
    assert list(schemas.faults(Rendered(everything.objects, everything.values, NEWEST))) == []
