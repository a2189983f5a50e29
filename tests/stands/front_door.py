"""Requests to a running Polka in tests, and checks of answers and of the database."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx

from running import Running
from services import Service, client, wait_for


def post(polka: Running, body: Any, key: str | None = None, api: int = 0, **params: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    return client.post(f"{polka.apis[api].url}/transaction", content=content, headers=headers, params=params)


def fetch(url: str, statement: str) -> list[Any]:
    async def ask() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(ask())


NOT_POSTED = {"posted_at": None, "window": None}
"""A transaction before the posting of its batch, and therefore in its first answer."""
UNPOSTED = "SELECT id FROM batches WHERE state = 'unposted'"


def payload_of(database_url: str, transaction: dict[str, Any]) -> list[tuple[str, str, str, int]]:
    """The entries of the batch. The batch must have only this payment."""
    return fetch(
        database_url,
        "SELECT entry->>0, entry->>1, entry->>2, (entry->>3)::bigint FROM batches, json_array_elements(payload) entry "
        f"WHERE id = '{transaction['batch']}'",
    )


def everything(polka: Running) -> list[Any]:
    """The counts of all rows that a payment may create. Tombstones of earlier failures may come at any time."""
    wait_for("all is posted", lambda: not fetch(polka.database_url, UNPOSTED))
    tables = ("transactions", "batches WHERE state <> 'void'", "idempotency_keys", "accounts", "balances", "banks")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    [found] = fetch(polka.database_url, f"SELECT {counts}")
    return list(found)


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of RFC 9457."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["type"] == f"urn:polka:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    return problem


def change(polka: Running, bank: str, api: int = 0, **terms: Any) -> httpx.Response:
    return client.patch(f"{polka.apis[api].url}/banks/{bank}", json=terms)


def changed(polka: Running, bank: str, api: int = 0, **terms: Any) -> dict[str, Any]:
    response = change(polka, bank, api, **terms)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def send(api: Service, body: Any, key: str | None = None) -> Any:
    return client.post(f"{api.url}/transaction", json=body, headers={"Idempotency-Key": key} if key else {})
