"""Where no keys are asked for, no page of another site reaches anything through its visitor's browser."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cache.access import Access
from services import Service, Services, payment

FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://elsewhere.example", "Content-Type": "text/plain"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Host": "rebound.example"},
    {"Host": "rebound.example", "Origin": "http://rebound.example"},
]
POSTS = ["/transaction", "/transactions", "/banks", "/keys", "/clearing", "/drills", "/console/session"]
READS = ["/transactions", "/banks", "/keys", "/hello", "/schema/openapi.json", "/console"]


@pytest.fixture(scope="module")
def without_keys(make_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    services = Services(make_database(), tmp_path_factory.mktemp("services"))
    try:
        yield services.api(POLKA_NO_AUTH="true").ready()
    finally:
        services.stop()


def ask(service: Service, method: str, path: str, headers: dict[str, str], **body: Any) -> httpx.Response:
    return httpx.request(
        method, f"{service.url}{path}", headers=headers, trust_env=False, verify=False, timeout=60, **body
    )


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_reaches_no_route(without_keys: Service, headers: dict[str, str]) -> None:
    for method, paths in (("POST", POSTS), ("GET", READS), ("DELETE", ["/keys/1"]), ("PATCH", ["/banks/bank1"])):
        for path in paths:
            refused = ask(without_keys, method, path, headers, **({"json": payment()} if method == "POST" else {}))
            assert refused.status_code == 403, (method, path, refused.text)
            assert refused.json()["code"] == "forbidden"


def test_a_program_and_its_own_page_pay(without_keys: Service) -> None:
    host = without_keys.url.removeprefix("http://")
    for number, headers in enumerate(({}, {"Origin": without_keys.url, "Sec-Fetch-Site": "same-origin", "Host": host})):
        named = {**headers, "Idempotency-Key": f"own-{number}"}
        assert ask(without_keys, "POST", "/transaction", named, json=payment()).status_code == 201


def test_it_makes_no_key(without_keys: Service) -> None:
    refused = ask(without_keys, "POST", "/keys", {}, json={"name": "mine"})
    assert refused.status_code == 403
    assert refused.json()["detail"] == "No keys are made where none are asked for: they would stay valid later."
    assert [key["name"] for key in ask(without_keys, "GET", "/keys", {}).json()["keys"]] == ["tests"]


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [*FOREIGN, {"Host": "127.0.0.1:8100"}], ids=str)
async def test_a_cache_without_a_token_is_closed_to_other_sites_too(headers: dict[str, str]) -> None:
    sent: list[Any] = []

    async def app(*_: Any) -> None:
        sent.append({"status": 200})

    async def receive() -> Any: ...

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in {"Host": "localhost", **headers}.items()]
    for path in ("/balance", "/clearing/close", "/metrics"):
        await Access(app, None)({"type": "http", "path": path, "headers": raw}, receive, send)
    statuses = [message["status"] for message in sent if "status" in message]
    assert statuses == [403 if headers in FOREIGN else 200] * 3
