"""Payments deleted and amended: what each leaves behind, who wins a race, and what a repeated request is told."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

import line
from front_door import NOT_POSTED, fetch, post, refused
from proof import prove
from running import Running
from services import client, payment, wait_for
from waiting import WAIT_SECONDS


def url_of(polka: Running, transaction: dict[str, Any], api: int = 0) -> str:
    return f"{polka.apis[api].url}/transaction/{transaction['id']}"


def delete(polka: Running, transaction: dict[str, Any], key: str | None = None, api: int = 0, **more: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    headers |= more.pop("headers", {})
    return client.delete(url_of(polka, transaction, api), headers=headers, **more)


def amend(
    polka: Running, transaction: dict[str, Any], body: Any, key: str | None = None, api: int = 0, **more: Any
) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    headers |= more.pop("headers", {})
    return client.patch(url_of(polka, transaction, api), json=body, headers=headers, **more)


def history(polka: Running, transaction: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{url_of(polka, transaction)}/history").json()
    return found


def held(polka: Running, bank: str) -> dict[str, int]:
    found = client.get(f"{polka.url}/banks/{bank}").json()["balances"]
    return {position["currency"]: position["posted"] + (position["pending"] or 0) for position in found}


def accounts(polka: Running, bank: str) -> dict[str, int]:
    found = client.get(f"{polka.url}/banks/{bank}/accounts").json()["accounts"]
    return {
        account["account"]: sum(position["posted"] + (position["pending"] or 0) for position in account["balances"])
        for account in found
    }


def test_a_deleted_payment_is_reversed_and_says_so(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, _ = banks
    made = post(polka, payment(100, a, b)).json()
    wait_for("it has moved", lambda: held(polka, b) == {"USD": 100})
    response = delete(polka, made, params={"reason": "sent by mistake"})
    assert response.status_code == 200
    assert response.headers["etag"] == '"2"'
    gone = response.json()
    assert gone["status"] == "deleted"
    assert gone["version"] == 2
    assert gone["batch"] != made["batch"]
    assert gone["changed_at"] > gone["created_at"] == made["created_at"]
    wait_for("it has moved back", lambda: (held(polka, a), held(polka, b)) == ({"USD": 0}, {"USD": 0}))
    assert client.get(url_of(polka, made)).json() | NOT_POSTED == gone
    (old,) = history(polka, made)["old_versions"]
    assert old["transaction"] | NOT_POSTED == made
    assert old["reversal_batch"] == gone["batch"]
    assert old["replaced_at"] == gone["changed_at"]
    assert old["reason"] == "sent by mistake"
    assert old["replaced_by"]


def test_an_amended_payment_moves_from_the_old_parties_to_the_new(polka: Running, banks: tuple[str, str, str]) -> None:
    a, b, c = banks
    made = post(polka, payment(100, a, b, reference="first")).json()
    response = amend(polka, made, {"receiver": {"bank": c, "account": "C9"}, "reference": "second"})
    assert response.status_code == 200
    new = response.json()
    assert new["receiver"] == {"bank": c, "account": "C9"}
    assert new["sender"] == made["sender"]
    assert (new["amount"], new["reference"], new["version"]) == (100, "second", 2)
    again = amend(polka, made, {"sender": {"account": "A7"}, "reference": None}).json()
    assert (again["version"], again["reference"]) == (3, None)
    wait_for("it has moved", lambda: held(polka, c) == {"USD": 100})
    assert held(polka, a) == {"USD": -100}
    assert held(polka, b) == {"USD": 0}
    wait_for("accounts too", lambda: accounts(polka, a) == {"A1": 0, "A7": -100})
    assert accounts(polka, c) == {"C9": 100}
    found = history(polka, made)
    assert found["transaction"]["version"] == 3
    assert [old["transaction"]["version"] for old in found["old_versions"]] == [2, 1]
    assert [old["transaction"]["reference"] for old in found["old_versions"]] == ["second", "first"]


def test_a_change_repeated_with_its_key_gets_the_first_answer(polka: Running, key: str) -> None:
    made = post(polka, payment(5), f"{key}-post").json()
    changed = amend(polka, made, {"reference": "x"}, f"{key}-patch")
    gone = delete(polka, made, f"{key}-delete")
    for api in (0, 1):
        again = amend(polka, made, {"reference": "x"}, f"{key}-patch", api)
        assert (again.status_code, again.json()) == (200, changed.json())
        assert again.headers["idempotency-replayed"] == "true"
        again = delete(polka, made, f"{key}-delete", api)
        assert (again.status_code, again.json()) == (200, gone.json())
        again = post(polka, payment(5), f"{key}-post", api)  # as it was at first, whatever it is now
        assert (again.status_code, again.json()) == (201, made)
    assert refused(delete(polka, made, f"{key}-patch"), 422, "key_reused")["field"] == "Idempotency-Key"
    found = client.get(f"{polka.url}/transaction", params={"idempotency_key": f"{key}-post"}).json()
    assert found | NOT_POSTED == made


def test_a_deleted_payment_is_gone_for_other_changes(polka: Running, key: str) -> None:
    made = post(polka, payment(5)).json()
    assert delete(polka, made).status_code == 200
    refused(delete(polka, made), 410, "deleted")
    refused(delete(polka, made, key), 410, "deleted")
    refused(delete(polka, made, key, api=1), 410, "deleted")
    refused(amend(polka, made, {"reference": "x"}), 410, "deleted")


def test_a_change_can_name_the_version_that_it_means(polka: Running, key: str) -> None:
    made = post(polka, payment(5), key)
    tag = client.get(url_of(polka, made.json())).headers["etag"]
    assert tag == made.headers["etag"] == '"1"'
    assert amend(polka, made.json(), {"reference": "x"}, headers={"If-Match": tag}).status_code == 200
    problem = refused(delete(polka, made.json(), headers={"If-Match": tag}), 412, "stale_version")
    assert "version 2" in problem["detail"]
    assert delete(polka, made.json(), headers={"If-Match": "*"}).status_code == 200


def test_the_form_of_an_amendment_comes_before_the_version_that_it_means(polka: Running) -> None:
    made = post(polka, payment(5)).json()
    bad = {"sender": {"account": "A 1"}}
    refused(amend(polka, made, bad, headers={"If-Match": '"7"'}), 400, "invalid")
    refused(amend(polka, NOBODY, bad), 400, "invalid")


NOBODY = {"id": "01900000-0000-7000-8000-000000000000"}
BAD: dict[str, tuple[Any, int, str, str | None]] = {
    "no JSON": (b"{", 400, "malformed", None),
    "nothing": ({}, 400, "invalid", None),
    "the amount": ({"amount": 5}, 400, "invalid", "amount"),
    "the currency": ({"currency": "EUR"}, 400, "invalid", "currency"),
    "an unknown field": ({"colour": "red"}, 400, "invalid", "colour"),
    "an unknown field inside": ({"sender": {"iban": "x"}}, 400, "invalid", "sender.iban"),
    "a bad account": ({"sender": {"account": "A 1"}}, 400, "invalid", "sender.account"),
    "an account as a number": ({"sender": {"account": 5}}, 400, "invalid", "sender.account"),
    "no sender at all": ({"sender": None}, 400, "invalid", "sender"),
    "a bad reference": ({"reference": "a\0b"}, 400, "invalid", "reference"),
    "an unknown bank": ({"receiver": {"bank": "nobody"}}, 422, "unknown_bank", "receiver.bank"),
    "the sender as receiver": (
        {"receiver": {"bank": "bank1", "account": "A1"}},
        422,
        "same_account",
        "receiver",
    ),
    "a long body": ({"reference": "x" * 66_000}, 413, "too_large", None),
}


@pytest.mark.parametrize(("body", "status", "code", "field"), BAD.values(), ids=BAD.keys())
def test_a_bad_amendment_names_field_and_fact_and_changes_nothing(
    polka: Running, body: Any, status: int, code: str, field: str | None
) -> None:
    made = post(polka, payment(5)).json()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.patch(url_of(polka, made), content=content)
    assert refused(response, status, code).get("field") == field
    assert history(polka, made)["old_versions"] == []


def test_changes_of_what_is_not_there(polka: Running) -> None:
    for transaction in (NOBODY, {"id": "x"}):
        refused(delete(polka, transaction), 404, "not_found")
        refused(amend(polka, transaction, {"reference": "x"}), 404, "not_found")
        refused(client.get(f"{url_of(polka, transaction)}/history"), 404, "not_found")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"headers": {"If-Match": "2"}}, "If-Match"),
        ({"headers": {"If-Match": '"1", "2"'}}, "If-Match"),
        ({"params": {"reason": "a\0b"}}, "reason"),
        ({"params": {"reason": ""}}, "reason"),
        ({"params": {"why": "so"}}, "why"),
        ({"params": {"timeout": "x"}}, "timeout"),
        ({"params": [("timeout", "1s"), ("timeout", "2s")]}, "timeout"),
    ],
)
def test_a_bad_header_or_parameter_of_a_change(polka: Running, more: dict[str, Any], field: str) -> None:
    made = post(polka, payment(5)).json()
    assert refused(delete(polka, made, **more), 400, "invalid")["field"] == field
    assert client.get(url_of(polka, made)).json()["status"] == "accepted"


def test_a_deletion_sent_through_two_apis_at_once_with_one_key_is_done_once(polka: Running, key: str) -> None:
    """A client that is not answered tries elsewhere, while its first attempt may still be under way."""
    results = client.post(f"{polka.url}/transactions", json=[payment(1) for _ in range(300)]).json()["results"]
    made = [result["transaction"] for result in results]

    async def delete_twice() -> list[list[httpx.Response]]:
        async with httpx.AsyncClient(
            trust_env=False, verify=False, headers=dict(client.headers), timeout=WAIT_SECONDS
        ) as sender:
            return [
                await asyncio.gather(
                    *(
                        sender.delete(url_of(polka, transaction, api), headers={"Idempotency-Key": f"{key}-{number}"})
                        for api in (0, 1)
                    )
                )
                for number, transaction in enumerate(made)
            ]

    replayed = 0
    for first, second in asyncio.run(delete_twice()):
        assert (first.status_code, second.status_code) == (200, 200), (first.text, second.text)
        assert first.json() == second.json()
        replayed += sum("idempotency-replayed" in response.headers for response in (first, second))
    assert replayed == 300


RACES, AT_ONCE = 2_000, 20


@pytest.mark.parametrize("rival", ["DELETE", "PATCH"])
def test_of_two_changes_at_once_through_two_apis_exactly_one_wins(polka: Running, key: str, rival: str) -> None:
    """The loser gets 409, or 410 or its own success where it came behind; a payment is deleted once at most."""
    body = [payment(1) for _ in range(1_000)]
    made = [client.post(f"{polka.url}/transactions", json=body).json()["results"] for _ in range(RACES // 1_000)]
    ids = [result["transaction"]["id"] for results in made for result in results]
    outcomes = asyncio.run(race(polka, ids, rival))
    assert len(outcomes) == RACES
    if rival == "DELETE":
        assert all(pair.count(200) == 1 for pair in outcomes), Counter(map(tuple, outcomes))
        assert {status for pair in outcomes for status in pair} <= {200, 409, 410}
    else:  # an amendment may come first, and the deletion read it already
        assert all(pair.count(200) >= 1 for pair in outcomes), Counter(map(tuple, outcomes))
        assert {tuple(pair) for pair in outcomes} <= {(200, 409), (200, 410), (409, 200), (200, 200)}
    assert any(409 in pair for pair in outcomes), "they never met"
    rows = fetch(
        polka.database_url,
        "SELECT id::text, count(*) FILTER (WHERE status = 'deleted'), max(version) FROM transaction_versions "
        f"WHERE id = ANY('{{{','.join(ids)}}}') GROUP BY id",
    )
    stored = {row[0]: row[1:] for row in rows}
    for number, pair in enumerate(outcomes):
        deleted, version = stored[ids[number]]
        assert version == 1 + pair.count(200)
        assert deleted == (200 in pair if rival == "DELETE" else pair[0] == 200)


async def race(polka: Running, ids: list[str], rival: str) -> list[list[int]]:
    """The statuses of a DELETE and its rival's, for each payment."""
    body = json.dumps({"reference": "x"}).encode() if rival == "PATCH" else b""
    async with AsyncExitStack() as stack:
        tracks = [
            [await stack.enter_async_context(line.opened(polka.apis[(number + second) % 2].url)) for second in (0, 1)]
            for number in range(AT_ONCE)
        ]

        async def pair(track: list[line.Line], transaction_id: str) -> list[int]:
            path = f"/transaction/{transaction_id}"
            both = await asyncio.gather(track[0].status("DELETE", path), track[1].status(rival, path, body))
            return list(both)

        outcomes = []
        for start in range(0, len(ids), AT_ONCE):
            pairs = zip(tracks, ids[start : start + AT_ONCE], strict=True)
            outcomes += await asyncio.gather(*(pair(track, transaction_id) for track, transaction_id in pairs))
        return outcomes


@pytest.fixture(scope="module", autouse=True)
def _audit_at_the_end(polka: Running) -> Iterator[None]:
    yield
    prove(polka.database_url, polka.cache.url)
