"""Requests with a key, and keys of all kinds."""

from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import uuid_utils

from polka.rules import keys
from polka.rules.keys import Scope
from services import bearer, client

SEND, READ, BANKS, OPERATE, KEYS = Scope


async def insert(url: str, key: str, bank: str | None, *scopes: Scope, **now: bool) -> None:
    """Insert a key into the table, without a check of its rights and without a notification.

    `now` names the columns with the present time: `revoked_at`, `expires_at`.
    """
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO api_keys (id, hash, name, bank, scopes, revoked_at, expires_at) "
        "VALUES ($1, $2, 'x', $3, $4, CASE WHEN $5 THEN now() END, CASE WHEN $6 THEN now() END)",
        uuid_utils.uuid7(),
        keys.hash_of(key.encode()),
        bank,
        [scope.value for scope in scopes],
        now.get("revoked_at", False),
        now.get("expires_at", False),
    )
    await connection.close()


def send(method: str, url: str, headers: dict[str, str], body: Any = None) -> httpx.Response:
    """A request with these headers, and without any other key."""
    request = client.build_request(method, url, json=body, headers=headers)
    if "Authorization" not in headers:
        del request.headers["Authorization"]
    try:
        return client.send(request)
    finally:
        client.cookies.clear()  # a session of the console would replace a key


def new_key(url: str, *scopes: Scope, bank: str | None = None) -> str:
    """A key made by an operator."""
    body = {"name": "a test", "bank": bank, "scopes": [scope.value for scope in scopes or (SEND, READ)]}
    response = client.post(f"{url}/keys", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["key"])


def key_of_bank(url: str, bank: str) -> dict[str, str]:
    return bearer(new_key(url, bank=bank))


def is_refused(url: str, headers: dict[str, str]) -> Callable[[], bool]:
    return lambda: send("GET", f"{url}/banks", headers).status_code == 401


NEVER = {"POLKA_KEYS_POLL_SECONDS": "3600"}
REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE hash = $1"
