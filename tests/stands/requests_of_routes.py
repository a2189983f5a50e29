"""A request for each route of the api, its scope, and its status."""

from collections.abc import Callable
from typing import Any

import uuid_utils

from api.console import console
from bearers import BANKS, KEYS, OPERATE, READ, SEND
from polka.rules.keys import Scope
from running import Running
from services import client, payment


def new_payment(polka: Running, sender: str, receiver: str) -> str:
    response = client.post(f"{polka.url}/transaction", json=payment(sender=sender, receiver=receiver))
    return str(response.json()["id"])


def of_payment(
    suffix: str = "", sender: str = "bank1", receiver: str = "bank2", of: str = "transaction"
) -> Callable[[Running], str]:
    """The path of a new payment."""
    return lambda polka: f"/{of}/{new_payment(polka, sender, receiver)}{suffix}"


def of_key(polka: Running) -> str:
    return f"/keys/{client.post(f'{polka.url}/keys', json={'name': 'to be revoked'}).json()['id']}"


def of_closed_window(polka: Running) -> str:
    client.post(f"{polka.url}/clearing", json={"window": 1}).raise_for_status()
    return "/clearing/1/settle"


def at(path: str) -> Callable[[Running], str]:
    return lambda _: path


def bank_body() -> dict[str, str]:
    return {"name": f"of {uuid_utils.uuid7()}"}


Row = tuple[Scope | None, Callable[[Running], str], Any, int, int]
"""The scope of the route, a request, and its status for operators and for bank1 with this scope."""
TABLE: dict[tuple[str, str], Row] = {
    ("GET", "/"): (None, at("/"), None, 200, 200),
    ("GET", "/hello"): (None, at("/hello"), None, 200, 200),
    ("GET", "/health/live"): (None, at("/health/live"), None, 404, 404),
    ("GET", "/health/ready"): (None, at("/health/ready"), None, 404, 404),
    ("GET", "/metrics"): (None, at("/metrics"), None, 404, 404),
    ("POST", "/transaction"): (SEND, at("/transaction"), payment, 201, 201),
    ("GET", "/transaction"): (READ, at("/transaction"), None, 200, 200),
    ("GET", "/transaction/{transaction_id:str}"): (READ, of_payment(), None, 200, 200),
    ("GET", "/transactions/{transaction_id:str}"): (READ, of_payment(of="transactions"), None, 200, 200),
    ("GET", "/transaction/{transaction_id:str}/history"): (READ, of_payment("/history"), None, 200, 200),
    ("PATCH", "/transaction/{transaction_id:str}"): (SEND, of_payment(), lambda: {"reference": "new"}, 200, 200),
    ("DELETE", "/transaction/{transaction_id:str}"): (SEND, of_payment(), None, 200, 200),
    ("POST", "/transactions"): (SEND, at("/transactions"), lambda: [payment(), payment()], 201, 201),
    ("GET", "/transactions"): (READ, at("/transactions"), None, 200, 200),
    ("GET", "/banks"): (READ, at("/banks"), None, 200, 200),
    ("POST", "/banks"): (BANKS, at("/banks"), bank_body, 201, 403),
    ("GET", "/banks/{name:str}"): (READ, at("/banks/bank1"), None, 200, 200),
    ("PATCH", "/banks/{name:str}"): (BANKS, at("/banks/bank1"), lambda: {"suspended": "no"}, 200, 403),
    ("GET", "/banks/{name:str}/accounts"): (READ, at("/banks/bank1/accounts"), None, 200, 200),
    ("GET", "/clearing"): (READ, at("/clearing"), None, 200, 200),
    ("POST", "/clearing"): (OPERATE, at("/clearing"), lambda: {"window": 1}, 200, 403),
    ("GET", "/clearing/{window:int}"): (READ, at("/clearing/1"), None, 200, 200),
    ("POST", "/clearing/{window:int}/settle"): (OPERATE, of_closed_window, None, 200, 403),
    ("GET", "/liquidity"): (OPERATE, at("/liquidity"), None, 200, 403),
    ("GET", "/liquidity/history"): (OPERATE, at("/liquidity/history?currency=USD"), None, 200, 403),
    ("GET", "/audit"): (OPERATE, at("/audit"), None, 200, 403),
    ("GET", "/currencies"): (READ, at("/currencies"), None, 200, 200),
    ("GET", "/rates"): (READ, at("/rates"), None, 200, 200),
    ("GET", "/convert"): (READ, at("/convert?from=EUR&to=USD&amount=1"), None, 200, 200),
    ("POST", "/keys"): (KEYS, at("/keys"), lambda: {"name": "new", "scopes": ["keys:write"]}, 201, 403),
    ("GET", "/keys"): (OPERATE, at("/keys"), None, 200, 403),
    ("DELETE", "/keys/{key_id:str}"): (KEYS, of_key, None, 200, 403),
    ("GET", "/drills"): (OPERATE, at("/drills"), None, 404, 403),
    ("POST", "/drills"): (OPERATE, at("/drills"), lambda: {"target": "cache"}, 404, 403),
    ("GET", "/console"): (None, at("/console"), None, 200, 200),
    **{("GET", f"/console/{name}"): (None, at(f"/console/{name}"), None, 200, 200) for name in console.FILES},
    ("POST", "/console/session"): (OPERATE, at("/console/session"), None, 204, 403),
    ("GET", "/console/events"): (OPERATE, at("/console/events?currency=none"), None, 400, 403),
}
