"""An api without its cache, without its database, and without an outcome in time."""

import asyncio

import pytest

from front_door import refused
from polka.audit import snapshot
from services import Services, client, payment, wait_for
from wire import Fault, Wire


def test_without_the_cache_payments_go_on_and_balances_come_from_the_database(services: Services) -> None:
    cache, api = services.cache(POLKA_FLUSH_SECONDS="0.1").ready(), services.api().ready()
    assert client.post(f"{api.url}/transaction", json=payment(5)).status_code == 201
    wait_for(
        "it is posted",
        lambda: (
            client.get(f"{api.url}/banks/bank1").json()["balances"] == [{"currency": "USD", "posted": -5, "pending": 0}]
        ),
    )
    cache.kill()
    assert client.post(f"{api.url}/transaction", json=payment(7)).status_code == 201
    bank = client.get(f"{api.url}/banks/bank1").json()
    assert bank["balances"] == [{"currency": "USD", "posted": -5, "pending": None}]
    assert bank["as_of"]["flush"] == 1
    assert client.get(f"{api.url}/banks").json()["banks"][0]["name"] == "bank1"
    page = client.get(f"{api.url}/banks?cursor=bank1&limit=1").json()
    assert (page["banks"][0]["name"], page["cursor"], page["next"]) == ("bank10", "bank10", "bank10")
    accounts = client.get(f"{api.url}/banks/bank1/accounts").json()
    assert accounts["accounts"] == [{"account": "A1", "balances": bank["balances"]}]
    cache.restart()
    assert client.get(f"{api.url}/banks/bank1").json()["balances"] == [{"currency": "USD", "posted": -12, "pending": 0}]


def test_a_frozen_cache_holds_nobody_up(services: Services) -> None:
    cache, api = services.cache().ready(), services.api(POLKA_CACHE_TIMEOUT_SECONDS="0.3").ready()
    with cache.frozen():
        for amount in range(1, 21):
            assert client.post(f"{api.url}/transaction", json=payment(amount)).status_code == 201
        assert client.get(f"{api.url}/banks/bank1").json()["balances"] == []


def test_a_database_that_is_away_is_told_and_comes_back(services: Services, wire: Wire) -> None:
    services.database_url = wire.url
    api = services.api().ready()
    wire.refuse()
    wire.cut()
    problem = refused(
        client.post(f"{api.url}/transaction", json=payment(), headers={"Idempotency-Key": "k"}), 503, "database_away"
    )
    assert "nothing was recorded" in problem["detail"].lower()
    assert client.get(f"{api.metrics_url}/health/ready").status_code == 503
    assert client.get(f"{api.metrics_url}/health/live").status_code == 200
    refused(client.get(f"{api.url}/transaction"), 503, "database_away")
    refused(client.post(f"{api.url}/banks", json={"name": "x"}), 503, "outcome_unknown")
    wire.accept()
    wait_for("it is ready", api.is_ready)
    response = client.post(f"{api.url}/transaction", json=payment(), headers={"Idempotency-Key": "k"})
    assert response.status_code == 201
    assert "idempotency-replayed" not in response.headers


@pytest.mark.parametrize(
    ("environ", "timeout"),
    [({}, {"timeout": "500ms"}), ({"POLKA_REQUEST_TIMEOUT_SECONDS": "5"}, {})],
    ids=["the request's time", "the api's time"],
)
def test_an_outcome_that_is_not_known_in_time_is_told_as_such(
    services: Services, wire: Wire, environ: dict[str, str], timeout: dict[str, str]
) -> None:
    services.database_url = wire.url
    api = services.api(**environ).ready()
    wire.arm(Fault.DELAY, lambda message: b"cut here" in message, then_refuse=True)
    url, body, headers = f"{api.url}/transaction", payment(reference="cut here"), {"Idempotency-Key": "k"}
    assert client.post(url, json=payment()).status_code == 201
    refused(client.post(url, json=body, headers=headers, params=timeout), 504, "outcome_unknown")
    wire.accept()
    wire.release()
    answer = client.post(url, json=body, headers=headers)
    assert answer.status_code == 201
    found = client.get(url, params={"idempotency_key": "k"}).json()
    assert found["id"] == answer.json()["id"]
    assert asyncio.run(snapshot.audit(services.database_url)).is_clean
