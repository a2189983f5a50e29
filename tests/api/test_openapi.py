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
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from openapi_spec_validator import validate
from selenium.webdriver.common.by import By

import api_examples
import browser
from api.app import ROUTES
from api.http.refusals import Refusal
from api_examples import ID, TIME
from fuzz import fuzz
from polka.rules.transactions import Amendment, Payment
from proof import prove
from running import Running
from services import KEY, client, payment, wait_for


@pytest.fixture(scope="module")
def polka(own_polka: Running) -> Running:
    return own_polka


@pytest.fixture(scope="module")
def description(polka: Running) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{polka.url}/schema/openapi.json").raise_for_status().json()
    return found


def test_a_polka_answers_like_the_examples(polka: Running) -> None:
    """This test comes first, because the numbers in the examples are those of a Polka without payments."""
    stored = {route: one for route, one in api_examples.stored().items() if not route.endswith("drills")}
    assert api_examples.form(api_examples.collect(polka.url, KEY)) == api_examples.form(stored), "`make docs`"


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


def test_every_operation_has_a_tag_and_a_short_title(description: dict[str, Any]) -> None:
    tags = [tag["name"] for tag in description["tags"]]
    titles = [operation["summary"] for operation in operations(description)]
    assert {tag for operation in operations(description) for tag in operation["tags"]} == set(tags)
    assert all(len(operation["tags"]) == 1 for operation in operations(description))
    assert len(titles) == len(set(titles))
    assert [title for title in titles if len(title) > 30] == []


def test_every_body_has_an_example_that_fits_its_schema(description: dict[str, Any]) -> None:
    bodies = list(bodies_of(description))
    assert len(bodies) > 30
    for place, body in bodies:
        assert "example" in body, place
        schema = body["schema"] | {"components": description["components"]}
        errors = WithFormats(schema, format_checker=FormatChecker()).iter_errors(body["example"])
        assert [error.message for error in errors] == [], place


def bodies_of(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The bodies in JSON of requests and of answers that are no problems, each with its place."""
    for operation in operations(description):
        name = operation["operationId"]
        if "requestBody" in operation:
            yield name, operation["requestBody"]["content"]["application/json"]
        for status, response in operation["responses"].items():
            if status < "300":
                yield f"{name} {status}", response["content"]["application/json"]


def check_type(validator: Any, types: Any, value: Any, schema: dict[str, Any]) -> Iterator[ValidationError]:
    """Its type, and that a text that looks like an id or a time has a format."""
    yield from Draft202012Validator.VALIDATORS["type"](validator, types, value, schema)
    if isinstance(value, str) and "format" not in schema and re.fullmatch(f"{ID.pattern}|{TIME.pattern}", value):
        yield ValidationError(f"{value} has no format")


WithFormats = validators.extend(Draft202012Validator, {"type": check_type})


def test_every_id_and_time_in_a_parameter_has_its_format(description: dict[str, Any]) -> None:
    found = {
        (operation["operationId"], parameter["name"]): parameter["schema"]["format"]
        for operation in operations(description)
        for parameter in operation["parameters"]
        if "format" in parameter["schema"] or parameter["name"].endswith("_id")
    }
    times = [("list_transactions", name) for name in ("from", "to")]
    times += [("get_liquidity_history", name) for name in ("from", "to", "cursor")]
    with_id = ("get_transaction", "get_one_of_transactions", "get_history", "amend_transaction", "delete_transaction")
    ids = [*((name, "transaction_id") for name in with_id), ("revoke_key", "key_id")]
    ids += [("list_keys", "cursor"), ("list_keys", "after")]
    expected = {("get_rates", "date"): "date"} | dict.fromkeys(times, "date-time") | dict.fromkeys(ids, "uuid")
    assert found == expected


def test_older_names_are_deprecated(description: dict[str, Any]) -> None:
    older = {
        (operation["operationId"], parameter["name"])
        for operation in operations(description)
        for parameter in operation["parameters"]
        if parameter.get("deprecated")
    }
    names = {"list_banks": "after", "list_accounts": "after", "list_windows": "before", "list_keys": "after"}
    assert older == set(names.items())
    pages = [
        schema for schema in description["components"]["schemas"].values() if "cursor" in schema.get("properties", {})
    ]
    assert len(pages) == 6
    assert all(page["properties"]["next"]["deprecated"] for page in pages)


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
    """`make fuzz` sends the same kinds of requests, and more of each."""
    fuzzed = fuzz(polka.url, KEY, examples=16, seed=1)
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
from polka_client.api.payments import get_transaction, post_transaction
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


@pytest.mark.skipif(not browser.is_there(), reason="Debian's chromium and chromium-driver are not installed")
def test_its_pages_show_it_without_an_error(polka: Running) -> None:
    with browser.opened() as chromium:
        chromium.get(f"{polka.url}/schema")
        titles = {"Payments", "Post transaction", "Drills"}
        wait_for(
            "the page shows all", lambda: titles <= set(chromium.find_element(By.TAG_NAME, "body").text.split("\n"))
        )
        logged = [line["message"] for line in browser.logged(chromium, "browser") if line["level"] != "INFO"]
        assert logged == []
        assert [url for url in browser.asked(chromium) if not url.startswith((polka.url, "data:", "blob:"))] == []


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
