"""Traces: a request is seen from its client to the flush that posts it; whoever does not ask for them pays nothing."""

import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from collector import CollectedSpan, Collector, collecting
from services import Service, Services, client, payment, wait_for

NOT_SAMPLED, SAMPLED = "00", "01"


@dataclass(frozen=True)
class Traced:
    """A Polka that traces what its clients trace, and nothing else."""

    collector: Collector
    api: Service
    cache: Service


@pytest.fixture
def traced(services: Services) -> Iterator[Traced]:
    with collecting() as collector:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "POLKA_TRACES_RATIO": "0",
        }
        cache, api = services.cache(**environ), services.api(**environ)
        yield Traced(collector, api.ready(), cache.ready())
        services.stop()


def pay(traced: Traced, flags: str = SAMPLED, bank: str = "bank1", status: int = 201) -> tuple[str, str, str]:
    """Pay as a client that traces does; the ids of its trace, of its own span and of the batch."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    head = {"traceparent": f"00-{trace}-{span}-{flags}", "X-Request-ID": trace}
    answer = client.post(f"{traced.api.url}/transaction", json=payment(sender=bank), headers=head)
    assert answer.status_code == status, answer.text
    return trace, span, answer.json().get("batch", "")


def one(collector: Collector, name: str, batch: str) -> CollectedSpan:
    """The span of a part of the batch."""
    return wait_for(  # type: ignore[no-any-return]
        name,
        lambda: next((span for span in collector.named(name) if span.attributes.get("polka.batch") == batch), None),
    )


def test_a_payment_is_traced_from_its_client_to_the_flush_that_posts_it(traced: Traced) -> None:
    collector = traced.collector
    trace, own, batch = pay(traced)

    commit = one(collector, "commit", batch)
    request = wait_for("the request's span", lambda: collector.of_trace(trace))[0]
    assert (request.service, request.name, request.parent) == ("polka-api", "POST /transaction", own)
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["polka.request"] == trace

    def of_batch(service: str, name: str) -> CollectedSpan:
        found = wait_for(
            f"{name} of {service}",
            lambda: [s for s in collector.of_trace(commit.trace) if (s.service, s.name) == (service, name)],
        )
        assert len(found) == 1
        return found[0]  # type: ignore[no-any-return]

    whole, told, heard = (
        of_batch(*which)
        for which in (("polka-api", "batch"), ("polka-api", "POST /balance"), ("polka-cache", "POST /balance"))
    )
    assert (whole.parent, whole.links, request.links) == ("", frozenset({request.id}), frozenset({whole.id}))
    assert (commit.parent, told.parent, heard.parent) == (whole.id, whole.id, told.id)
    assert heard.events == ({"polka.batch": batch, "polka.outcome": "pending"},)
    flush = wait_for("the flush", lambda: collector.named("flush"))[0]
    assert (flush.service, flush.links) == ("polka-cache", {heard.id})

    pay(traced, NOT_SAMPLED)
    client.post(f"{traced.api.url}/transaction", json=payment())
    client.get(f"{traced.api.metrics_url}/health/ready", headers={"traceparent": f"00-{trace}-{own}-{SAMPLED}"})
    capped = client.patch(f"{traced.api.url}/banks/bank3", json={"caps": {"USD": 150}})
    assert capped.status_code == 200, capped.text
    trace, own, batch = pay(traced, bank="bank3")
    commit, reserve = one(collector, "commit", batch), one(collector, "reserve", batch)
    heard = of_batch("polka-cache", "POST /balance/reservation")
    assert commit.parent == reserve.parent == of_batch("polka-api", "batch").id
    assert heard.parent == reserve.id
    assert len(collector.named("POST /transaction")) == 2, "what its client does not trace is traced"
    assert not collector.named("GET /health/ready")
    stranger = secrets.token_hex(16)
    head = {"traceparent": f"00-{stranger}-{own}-{SAMPLED}", "X-Forwarded-For": "127.0.0.1"}
    for key in ("", "Bearer polka_" + "f" * 40, "Bearer x"):
        bearing = {**head, "Authorization": key} if key else head
        for path, status in (("/hello", 200), ("/schema", 200), ("/transaction", 401)):
            assert (
                httpx.get(traced.api.url + path, headers=bearing, trust_env=False, verify=False).status_code == status
            )
    assert httpx.get(f"{traced.cache.url}/balance", headers=head, trust_env=False, verify=False).status_code == 401
    trace, _, _ = pay(traced, bank="bank3", status=409)
    refused = wait_for("the refused request's span", lambda: collector.of_trace(trace))[0]
    assert not collector.of_trace(stranger), "only a known caller decides that a request is traced"
    assert refused.attributes["http.response.status_code"] == 409


def test_a_collector_that_is_away_holds_nothing_up(services: Services) -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "POLKA_TRACES_RATIO": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    api = services.api(**environ).ready()
    client.post(f"{api.url}/transaction", json=payment()).raise_for_status()
    wait_for("it says so", lambda: "opentelemetry" in api.log.read_text())
    client.post(f"{api.url}/transaction", json=payment()).raise_for_status()
    api.send(signal.SIGTERM)
    assert api.process.wait(10) == 0, "less than the exporter itself would go on trying"
    assert "Traceback" not in api.log.read_text()


def test_without_traces_nothing_of_opentelemetry_is_loaded() -> None:
    code = """
import sys
import api.app, cache.app
from polka.service import traces
with traces.opened("api"):
    assert traces.traced(api.app, bool) is api.app and traces.current() is None and traces.headers() == {}
print(sorted(name for name in sys.modules if name.startswith("opentelemetry")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "[]\n"
