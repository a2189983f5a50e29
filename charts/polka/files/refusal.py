"""Sees what must be refused refused: a payment to nobody, and one without a key."""

import os

import httpx

PAYMENT = {
    "sender": {"bank": "helm-test-a", "account": "TEST"},
    "receiver": {"bank": "nobody-has-this-name", "account": "TEST"},
    "amount": 1,
}

with httpx.Client(base_url=os.environ["POLKA_URL"]) as polka:
    for headers, status, code in (
        ({"Authorization": f"Bearer {os.environ['POLKA_KEY']}"}, 422, "unknown_bank"),
        ({}, 401, "unauthorized"),
    ):
        refused = polka.post("/transaction", json=PAYMENT, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
        print(f"Refused: {refused.json()['detail']}")
