"""The key of a bank: it pays for its bank alone, and shows its bank alone."""

from typing import Any

from bearers import key_of_bank, new_key, send
from front_door import fetch, refused
from requests_of_routes import new_payment
from running import Running
from services import bearer, client, payment, wait_for


def test_idempotency_keys_are_each_callers_own(polka: Running) -> None:
    def pay(headers: dict[str, str], sender: str, api: int = 0) -> dict[str, Any]:
        url = f"{polka.apis[api].url}/transaction"
        response = send("POST", url, headers | {"Idempotency-Key": "the same"}, payment(sender=sender))
        assert response.status_code == 201, response.text
        answer: dict[str, Any] = response.json()
        return answer

    ours, theirs, operators = (
        key_of_bank(polka.url, "bank5"),
        key_of_bank(polka.url, "bank6"),
        bearer(new_key(polka.url)),
    )
    for api in polka.apis:  # the banks are known from now on
        for bank in ("bank5", "bank6"):
            assert client.post(f"{api.url}/transaction", json=payment(sender=bank)).status_code == 201
    first = pay(ours, "bank5")
    assert pay(theirs, "bank6")["id"] != first["id"]
    assert pay(operators, "bank5")["id"] != first["id"]
    another_of_ours = key_of_bank(polka.url, "bank5")
    assert pay(another_of_ours, "bank5", api=1) == first
    for headers, sender in ((another_of_ours, "bank5"), (theirs, "bank6")):
        found = send("GET", f"{polka.url}/transaction", headers, None).url
        found = send("GET", f"{found}?idempotency_key=the%20same", headers).json()
        assert found["sender"]["bank"] == sender


def test_a_key_sends_for_its_own_bank_alone_and_nothing_is_recorded(polka: Running) -> None:
    headers = key_of_bank(polka.url, "bank5") | {"Idempotency-Key": "not mine"}
    count = "SELECT count(*) FROM idempotency_keys WHERE key = 'not mine'"
    problem = refused(send("POST", f"{polka.url}/transaction", headers, payment(sender="bank6")), 403, "forbidden")
    assert problem["field"] == "sender.bank"
    assert fetch(polka.database_url, count) == [(0,)]
    assert send("POST", f"{polka.url}/transaction", headers, payment(sender="bank5")).status_code == 201


def test_the_latest_transaction_of_a_bank_is_its_own(polka: Running, banks: tuple[str, str, str]) -> None:
    own, other, third = banks
    headers = key_of_bank(polka.url, own)
    url = f"{polka.url}/transaction"
    refused(send("GET", url, headers), 404, "not_found")
    sent = new_payment(polka, own, other)
    new_payment(polka, other, third)
    assert send("GET", url, headers).json()["id"] == sent
    received = new_payment(polka, other, own)
    new_payment(polka, other, third)
    assert send("GET", url, headers).json()["id"] == received


def test_a_bank_sees_the_versions_that_it_took_part_in(polka: Running) -> None:
    path = f"{polka.url}/transaction/{new_payment(polka, 'bank1', 'bank2')}"
    assert client.patch(path, json={"receiver": {"bank": "bank3"}}).status_code == 200
    assert client.patch(path, json={"reference": "for bank3"}).status_code == 200
    history = send("GET", f"{path}/history", key_of_bank(polka.url, "bank3")).json()
    assert history["transaction"]["version"] == 3
    assert [old["transaction"]["version"] for old in history["old_versions"]] == [2]
    assert len(send("GET", f"{path}/history", key_of_bank(polka.url, "bank1")).json()["old_versions"]) == 2


def test_a_bank_has_itself_for_the_list_of_banks(polka: Running) -> None:
    headers = key_of_bank(polka.url, "bank5")

    def is_itself() -> bool:
        page = send("GET", f"{polka.url}/banks", headers).json()
        own = send("GET", f"{polka.url}/banks/bank5", headers).json()
        assert page["cursor"] is page["next"] is None
        assert [bank["name"] for bank in page["banks"]] == ["bank5"]
        return bool(page["banks"][0].items() <= own.items())

    wait_for("no flush comes between the two", is_itself)
    for name in ("cursor", "after"):
        page = send("GET", f"{polka.url}/banks?{name}=bank5", headers).json()
        assert page == {"banks": [], "cursor": None, "next": None}
