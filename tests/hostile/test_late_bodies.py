"""Bodies that end late: after their key was revoked, or after the caller's time is up."""

import json
import time
import uuid

import pytest

from bearers import SEND, is_refused
from front_door import fetch
from raw import Raw, with_length
from services import KEY, bearer, client, payment, wait_for
from witness import Hostile


@pytest.mark.parametrize("path", ["/transaction", "/transactions"])
def test_a_body_that_ends_after_its_key_was_revoked_pays_nothing(hostile: Hostile, path: str) -> None:
    url, reference = hostile.services["api"].url, str(uuid.uuid4())
    made = client.post(f"{url}/keys", json={"name": "stolen", "scopes": [SEND.value]}).json()
    body = json.dumps(paid(path, reference)).encode()
    with hostile.attacked(), Raw(url) as raw:
        raw.send(with_length("POST", f"{path}?timeout=5m", f"Authorization: Bearer {made['key']}", body=body)[:-1])
        client.delete(f"{url}/keys/{made['id']}").raise_for_status()
        wait_for("the key is refused", is_refused(url, bearer(made["key"])))
        raw.send(body[-1:])
        assert raw.status() == 401
    assert not stored(hostile, reference)


@pytest.mark.parametrize("path", ["/transaction", "/transactions"])
def test_a_body_that_ends_after_its_time_pays_nothing(hostile: Hostile, path: str) -> None:
    url, reference = hostile.services["api"].url, str(uuid.uuid4())
    body = json.dumps(paid(path, reference)).encode()
    with hostile.attacked(), Raw(url) as raw:
        raw.send(with_length("POST", f"{path}?timeout=300ms", f"Authorization: Bearer {KEY}", body=body)[:-1])
        time.sleep(0.5)  # the deadline is a time: nothing else tells that it has passed
        raw.send(body[-1:])
        assert raw.status() in (408, 504)
    assert not stored(hostile, reference)


def paid(path: str, reference: str) -> object:
    one = payment(reference=reference)
    return [one] if path == "/transactions" else one


def stored(hostile: Hostile, reference: str) -> list[object]:
    return fetch(hostile.database_url, f"SELECT id FROM transactions WHERE reference = '{reference}'")
