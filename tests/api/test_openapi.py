"""The description of the API: valid, true of what is answered, and enough to make a client and a page from."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate

from api.app import ROUTES
from api.http.refusals import Refusal
from fuzz import fuzz
from polka.rules.transactions import Amendment, Payment
from proof import prove
from running import Running
from services import KEY, client, payment


@pytest.fixture(scope="module")
def polka(own_polka: Running) -> Running:
    return own_polka


@pytest.fixture(scope="module")
def description(polka: Running) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{polka.url}/schema/openapi.json").raise_for_status().json()
    return found


def test_it_is_valid_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    validate(description)


def operations(description: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in description["paths"].values():
        yield from methods.values()


def test_every_route_is_in_it(description: dict[str, Any]) -> None:
    described = {operation["operationId"] for operation in operations(description)}
    assert described == {route.fn.__name__ for route in ROUTES if route.include_in_schema is not False}
    assert all(operation["description"] for operation in operations(description))


def test_every_kind_of_problem_is_in_it(description: dict[str, Any]) -> None:
    codes = {
        code
        for operation in operations(description)
        for response in operation["responses"].values()
        for code in response["content"].get("application/problem+json", {}).get("examples", {})
    }
    assert codes == {refusal.value.code for refusal in Refusal} - {"method_not_allowed"}


def test_what_needs_a_key_says_so(description: dict[str, Any]) -> None:
    for operation in operations(description):
        is_open = operation["operationId"] in ("hello", "live", "ready")
        assert operation["security"] == ([] if is_open else [{"key": []}])
        assert ("401" in operation["responses"]) != is_open


def test_its_examples_of_bodies_are_taken(description: dict[str, Any]) -> None:
    def body(path: str, method: str) -> bytes:
        content = description["paths"][path][method]["requestBody"]["content"]["application/json"]
        return json.dumps(content["example"]).encode()

    msgspec.json.decode(body("/transaction", "post"), type=Payment)
    msgspec.json.decode(body("/transactions", "post"), type=list[Payment])
    msgspec.json.decode(body("/transaction/{transaction_id}", "patch"), type=Amendment)


def test_no_request_has_an_answer_that_is_not_described(polka: Running) -> None:
    fuzzed = fuzz(polka.url, KEY, examples=170, seed=1)
    assert fuzzed.is_good, fuzzed.said
    assert fuzzed.cases >= 3_000, fuzzed.said
    for bank in client.get(f"{polka.url}/banks", params={"limit": 500}).json()["banks"]:
        client.patch(
            f"{polka.url}/banks/{bank['name']}", json={"caps": None, "suspended": None, "fees": None}
        ).raise_for_status()
    prove(polka.database_url, polka.cache.url)


PAY = """
import sys
from polka_client import AuthenticatedClient
from polka_client.api.default import get_transaction, post_transaction
from polka_client.models import Party, Payment, Transaction

client = AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2])
body = Payment(sender=Party("bank1", "A1"), receiver=Party("bank2", "B1"), amount=1250, reference="generated")
made = post_transaction.sync(client=client, body=body, idempotency_key=sys.argv[3])
assert isinstance(made, Transaction), made
found = get_transaction.sync(made.id, client=client)
assert found.amount == 1250 and found.reference == "generated", found
print(made.id)
"""


def test_a_client_generated_from_it_makes_a_payment(
    polka: Running, description: dict[str, Any], key: str, tmp_path: Path
) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(description))
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    generator = Path(sys.executable).with_name("openapi-python-client")
    options = ["--path=openapi.json", "--config=config.yaml", "--meta=none", "--output-path=polka_client"]
    subprocess.run([generator, "generate", *options], cwd=tmp_path, check=True, capture_output=True)
    program = [sys.executable, "-c", PAY, polka.url, KEY, key]
    done = subprocess.run(program, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = client.get(f"{polka.url}/transaction", params={"idempotency_key": key}).json()
    assert found["id"] == done.stdout.strip()
    assert found["receiver"] == payment()["receiver"]


def test_its_pages_need_no_other_address(polka: Running) -> None:
    page = client.get(f"{polka.url}/schema")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert set(re.findall(r'(?:src|href|data-url)="([^"]*)"', page.text)) == {
        "data:,",
        "/schema/openapi.json",
        "/schema/scalar.js",
    }
    script = client.get(f"{polka.url}/schema/scalar.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert len(script.text) > 1_000_000
