"""Pays between two banks, and pays once where the request comes twice."""

import os

import httpx

PAYMENT = {
    "sender": {"bank": "helm-test-a", "account": "TEST"},
    "receiver": {"bank": "helm-test-b", "account": "TEST"},
    "amount": 1,
    "reference": "helm test",
}

with httpx.Client(
    base_url=os.environ["POLKA_URL"], headers={"Authorization": f"Bearer {os.environ['POLKA_KEY']}"}
) as polka:
    for bank in ("helm-test-a", "helm-test-b"):
        opened = polka.post("/banks", json={"name": bank})
        assert opened.status_code in (201, 409), opened.text
    key = {"Idempotency-Key": os.urandom(16).hex()}
    first = polka.post("/transaction", json=PAYMENT, headers=key)
    assert first.status_code == 201, first.text
    again = polka.post("/transaction", json=PAYMENT, headers=key)
    assert again.json() == first.json(), again.text
    read = polka.get(f"/transaction/{first.json()['id']}")
    assert read.json()["amount"] == 1, read.text
    print(f"Paid, once: {first.json()['id']}")
