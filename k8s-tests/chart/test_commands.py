"""The check of what containers run finds each fault that it is for."""

import pytest

from chart import commands
from chart.planting import Fault, assert_found
from chart.rendering import Rendered

pytestmark = pytest.mark.chart

API = "Deployment/polka-api"
CACHE = "StatefulSet/polka-cache"
JOB = "Job/polka-spammer"
PAGE = "Deployment/polka-spammer-web"
TEST = "Pod/polka-test-payment"
VARIABLE = {"name": "POLKA_FLUSH_SECONDS", "value": "1"}

FAULTS = [
    Fault(API, "container.args", ["api", "--hots=0.0.0.0"], "No such option '--hots'"),
    Fault(API, "container.args", ["apis"], "No such command 'apis'"),
    Fault(API, "container.args", ["keys"], "polka keys: a subcommand is missing"),
    Fault(API, "container.args", ["api", "--host=0.0.0.0", "--port=eight"], "must be a whole number, 1 to 65,535"),
    Fault(API, "container.args", ["api", "--port=8000"], "it listens on 127.0.0.1 alone"),
    Fault(API, "container.args", ["api", "--host=0.0.0.0", "--port=80"], "it listens on [80, 8001], and says [8000, 8"),
    Fault(API, "container.command", ["sh", "-c", "polka api"], "signals would not reach polka"),
    Fault(API, "container.env.50", VARIABLE, "polka api does not read POLKA_FLUSH_SECONDS"),
    Fault(API, "container.env.0.name", "POLKA_DATABASE", "POLKA_DATABASE_URL is not set"),
    Fault(API, "container.env.50", {"name": "POLKA_DRAIN_SECONDS", "value": "20s"}, "POLKA_DRAIN_SECONDS: expected"),
    Fault(
        CACHE, "container.env.50", {"name": "POLKA_RATE_BURST", "value": "1"}, "polka cache does not read POLKA_RATE"
    ),
    Fault(API, "pod.initContainers.0.env.50", VARIABLE, "polka wait does not read POLKA_FLUSH_SECONDS"),
    Fault("Job/polka-migrate", "container.env.50", VARIABLE, "polka keys create does not read POLKA_FLUSH_SECONDS"),
    Fault(API, "container.livenessProbe.httpGet.path", "/live", "its livenessProbe asks for /live"),
    Fault(API, "container.livenessProbe.httpGet.port", "http", "its livenessProbe asks the port http"),
    Fault(CACHE, "container.ports.1.containerPort", 8102, "it listens on [8100, 8101], and says [8100, 8102]"),
    Fault(CACHE, "container.readinessProbe.httpGet.path", "/banks/1", "which polka cache does not answer"),
    Fault(PAGE, "container.readinessProbe.httpGet.path", "/health/ready", "which polka spam does not answer"),
    Fault(
        PAGE, "container.ports.2.containerPort", 5558, "it listens on [8089, 5557, 9646], and says [8089, 9646, 5558]"
    ),
    Fault(JOB, "container.args", ["spam", "--metrics-port=9646"], "it listens on 127.0.0.1 alone"),
    Fault("ServiceMonitor/polka-spammer", "spec.endpoints.0.path", "/", "polka spammer does not answer /"),
    Fault(PAGE, "container.args", ["spam", "--web"], "it does not wait for its key"),
    Fault(JOB, "container.args", ["spam", "--mix=post=90,put=10"], "'put=10' is none of post"),
    Fault(JOB, "container.args", ["spam", "--currencies=USD,ABC"], "Polka has no currency 'ABC'"),
    Fault(TEST, "spec.containers.0.env.0.name", "POLKA_ADDRESS", "POLKA_ADDRESS is given, and not read"),
    Fault(TEST, "spec.containers.0.env.0.name", "POLKA_ADDRESS", "POLKA_URL is read, and not given"),
    Fault("ServiceMonitor/polka-api", "spec.endpoints.0.path", "/stats", "polka api does not answer /stats"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.said)
def test_it_finds(fault: Fault, everything: Rendered) -> None:
    assert_found(commands.faults, everything, fault)


def test_it_reads_a_password_that_is_not_polkas(everything: Rendered) -> None:
    """A stranger's image is none of its business: Postgres has arguments of its own."""
    everything.values["image"]["repository"] = "somebody/else"
    assert [said for said in commands.faults(everything) if "Monitor" not in said] == []
