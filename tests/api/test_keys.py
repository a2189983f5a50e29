"""Who may do what: every route against every kind of key, and what a key reaches, sees and costs."""

import asyncio
import os
import signal
import socket
import time
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from api.app import ROUTES
from api.http.keyring import SPACING_SECONDS
from api.posting.policies import POLL_SECONDS
from api.routes.readiness import LOOK_SECONDS
from bearers import BANKS, KEYS, NEVER, READ, REVOKE, SEND, insert, is_refused, new_key, send
from commands import one_line
from commands import polka as command
from front_door import fetch, refused
from polka.local import postgres
from polka.local.demo import free_port
from polka.rules import keys
from polka.rules.keys import Scope
from polka.store import api_keys
from requests_of_routes import TABLE, Row, at, of_key, of_payment
from running import Running
from services import CACHE_TOKEN, KEY, Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Wire

OTHER_LOOKS = 5
"""At the lanes and at the rates: so many messages to the database each time."""

KINDS = ["no key", "an unknown key", "a revoked key", "an expired key"]
KINDS += [f"{owner}'s {scope.value}" for owner in ("bank1", "polka") for scope in Scope]


@pytest.fixture(scope="module")
def headers(polka: Running) -> dict[str, dict[str, str]]:
    """A header with a key of each kind."""
    made: dict[str, dict[str, str]] = {"no key": {}}
    for kind in KINDS[1:]:
        key = api_keys.new_key()
        made[kind] = bearer(key)
        owner, _, scope = kind.partition("'s ")
        if scope:
            asyncio.run(insert(polka.database_url, key, None if owner == "polka" else owner, Scope(scope)))
        elif kind != "an unknown key":
            column = "revoked_at" if kind == "a revoked key" else "expires_at"
            asyncio.run(insert(polka.database_url, key, None, *Scope, **{column: True}))
    return made


OTHERS: dict[tuple[str, str], Row] = {
    ("POST", "past the fast lane"): (SEND, at("/transaction/"), payment, 201, 201),
    ("POST", "for another bank"): (SEND, at("/transaction"), lambda: payment(sender="bank3"), 201, 403),
    ("GET", "of another bank"): (READ, at("/banks/bank3"), None, 200, 403),
    ("PATCH", "terms of another bank"): (BANKS, at("/banks/bank3"), lambda: {"suspended": "no"}, 200, 403),
    ("GET", "of no bank"): (READ, at("/banks/nobody"), None, 404, 403),
    ("GET", "another bank's accounts"): (READ, at("/banks/bank3/accounts"), None, 200, 403),
    ("GET", "others' payment"): (READ, of_payment(sender="bank3", receiver="bank4"), None, 200, 404),
    ("GET", "others' history"): (READ, of_payment("/history", sender="bank3", receiver="bank4"), None, 200, 404),
    ("DELETE", "others' payment"): (SEND, of_payment(sender="bank3", receiver="bank4"), None, 200, 404),
    ("PATCH", "others' payment"): (
        SEND,
        of_payment(sender="bank3", receiver="bank4"),
        lambda: {"reference": "new"},
        200,
        404,
    ),
    ("GET", "what it received"): (READ, of_payment(sender="bank3", receiver="bank1"), None, 200, 200),
    ("DELETE", "what it received"): (SEND, of_payment(sender="bank3", receiver="bank1"), None, 200, 403),
    ("PATCH", "what it received"): (
        SEND,
        of_payment(sender="bank3", receiver="bank1"),
        lambda: {"reference": "new"},
        200,
        403,
    ),
    ("PATCH", "to another sender"): (SEND, of_payment(), lambda: {"sender": {"bank": "bank3"}}, 200, 403),
    ("POST", "many, one for another bank"): (
        SEND,
        at("/transactions"),
        lambda: [payment(), payment(sender="bank3")],
        201,
        422,
    ),
    ("POST", "a key with more scopes"): (
        KEYS,
        at("/keys"),
        lambda: {"name": "new", "scopes": ["keys:write", "operate"]},
        403,
        403,
    ),
    ("POST", "a key of a bank"): (
        KEYS,
        at("/keys"),
        lambda: {"name": "new", "bank": "bank1", "scopes": ["transactions:read"]},
        403,
        403,
    ),
    ("GET", "what is nowhere"): (READ, at("/nothing"), None, 404, 404),
    ("GET", "the schema"): (None, at("/schema/openapi.json"), None, 200, 200),
}


def test_the_table_has_every_route_of_the_app() -> None:
    routes = {(method, path) for route in ROUTES for path in route.paths for method in route.http_methods}
    assert routes == TABLE.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("method", "route"), [*TABLE, *OTHERS], ids=str)
def test_what_each_kind_of_key_may_do(
    polka: Running, headers: dict[str, dict[str, str]], method: str, route: str, kind: str
) -> None:
    scope, path, body, for_operators, for_bank = (TABLE | OTHERS)[method, route]
    url = f"{polka.url}{path(polka)}"
    response = send(method, url, headers[kind], body() if body else None)
    owner, _, had = kind.partition("'s ")
    if scope is None:
        assert response.status_code == for_operators
    elif not had:
        refused(response, 401, "unauthorized")
    elif had == scope.value or route == "what is nowhere":
        expected = for_operators if owner == "polka" else for_bank
        assert response.status_code == expected, response.text
    else:
        refused(response, 403, "forbidden")
        assert response.headers["www-authenticate"] == (
            f'Bearer realm="polka", error="insufficient_scope", scope="{scope.value}"'
        )


def test_a_refused_caller_is_told_how_to_ask_and_not_whether_the_key_ever_was(
    polka: Running, headers: dict[str, dict[str, str]]
) -> None:
    url = f"{polka.url}/transaction"
    without = send("GET", url, {})
    assert without.headers["www-authenticate"] == 'Bearer realm="polka"'
    assert send("GET", url, {"Authorization": "Basic cG9sa2E6cG9sa2E="}).headers["www-authenticate"] == (
        'Bearer realm="polka"'
    )
    unknown = send("GET", url, headers["an unknown key"])
    assert unknown.headers["www-authenticate"] == 'Bearer realm="polka", error="invalid_token"'
    own = {"date": "", "x-request-id": ""}
    for kind in ("a revoked key", "an expired key"):
        answer = send("GET", url, headers[kind])
        assert answer.content == unknown.content
        assert {**answer.headers, **own} == {**unknown.headers, **own}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_name_of_the_scheme_may_be_in_any_case(polka: Running, scheme: str) -> None:
    key = new_key(polka.url)
    assert send("GET", f"{polka.url}/banks", {"Authorization": f"{scheme} {key}"}).status_code == 200


@pytest.mark.parametrize("wrong", ["{key}0", "{short}", "Polka_{bare}", "{bare}", "{key} {key}", "polka_", "\u00e9"])
def test_what_is_nearly_a_key_is_none(polka: Running, wrong: str) -> None:
    key = new_key(polka.url)
    text = wrong.format(key=key, short=key[:-1], bare=key.removeprefix("polka_"))
    sent: Any = {"Authorization": f"Bearer {text}".encode("latin-1")}
    refused(send("GET", f"{polka.url}/banks", sent), 401, "unauthorized")


def test_a_key_is_told_once_and_only_its_hash_is_kept(polka: Running) -> None:
    response = client.post(f"{polka.url}/keys", json={"name": "once", "bank": "bank1"})
    made = response.json()
    assert response.headers["cache-control"] == "no-store"
    assert (made["name"], made["bank"]) == ("once", "bank1")
    assert made["scopes"] == ["transactions:write", "transactions:read"]
    assert UUID(made["id"]).version == 7
    key = made.pop("key")
    assert keys.PREFIX + bytes.fromhex(key.removeprefix("polka_")).hex() == key
    listed = all_keys(polka.url)
    assert listed[-1] == made | {"revoked_at": None, "last_used_at": None}
    assert key.removeprefix("polka_") not in str(fetch(polka.database_url, "SELECT * FROM api_keys"))


def all_keys(url: str) -> list[dict[str, Any]]:
    """By pages of three."""
    found: list[dict[str, Any]] = []
    params: dict[str, str] = {"limit": "3"}
    while True:
        page = client.get(f"{url}/keys", params=params).json()
        assert len(page["keys"]) <= 3
        found += page["keys"]
        if page["cursor"] is None:
            return found
        params["cursor"] = page["cursor"]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"name": "x", "bank": "nobody"}, 422, "unknown_bank", "bank"),
        ({"name": "x", "bank": "polka"}, 422, "unknown_bank", "bank"),
        ({"name": "x", "bank": "bank1", "scopes": ["operate"]}, 400, "invalid", "scopes"),
        ({"name": "x", "bank": "bank1", "scopes": ["transactions:read", "banks:write"]}, 400, "invalid", "scopes"),
        ({"name": "x", "scopes": []}, 400, "invalid", "scopes"),
        ({"name": "x", "scopes": ["everything"]}, 400, "invalid", "scopes[0]"),
        ({"name": ""}, 400, "invalid", "name"),
        ({"name": "x\n"}, 400, "invalid", "name"),
        ({}, 400, "invalid", "name"),
        ({"name": "x", "key": "polka_mine"}, 400, "invalid", "key"),
        ({"name": "x", "expires_at": "2026-01-31T12:00:00Z"}, 400, "invalid", "expires_at"),
        ({"name": "x", "expires_at": "2099-01-31T12:00:00"}, 400, "invalid", "expires_at"),
        ({"name": "x", "expires_at": "tomorrow"}, 400, "invalid", "expires_at"),
    ],
)
def test_a_key_that_cannot_be_made(polka: Running, body: Any, status: int, code: str, field: str) -> None:
    before = fetch(polka.database_url, "SELECT count(*) FROM api_keys")
    assert refused(client.post(f"{polka.url}/keys", json=body), status, code)["field"] == field
    assert fetch(polka.database_url, "SELECT count(*) FROM api_keys") == before


def test_a_key_is_revoked_once(polka: Running) -> None:
    path = of_key(polka)
    first = client.delete(f"{polka.url}{path}").json()
    assert first["revoked_at"]
    assert client.delete(f"{polka.url}{path}").json() == first
    for nobody in ("x", "01900000-0000-7000-8000-000000000000"):
        refused(client.delete(f"{polka.url}/keys/{nobody}"), 404, "not_found")


OUR_SESSIONS = "FROM pg_stat_activity WHERE application_name = 'polka api keys' AND datname = current_database()"


def test_a_revocation_is_told_to_every_api_at_once(services: Services) -> None:
    """By NOTIFY alone: nobody polls here."""
    apis = [services.api(**NEVER).ready() for _ in range(2)]
    made = client.post(f"{apis[0].url}/keys", json={"name": "x"}).json()
    for api in apis:
        assert send("GET", f"{api.url}/banks", bearer(made["key"])).status_code == 200
    assert client.delete(f"{apis[0].url}/keys/{made['id']}").status_code == 200
    for api in apis:
        wait_for("it is refused", is_refused(api.url, bearer(made["key"])), 1)


@pytest.mark.parametrize("listening", ["which hears nothing", "which is ended", "which is frozen"])
def test_a_revocation_reaches_every_api_within_a_second_without_being_told(services: Services, listening: str) -> None:
    """By the poll alone, whatever became of the session: nobody is notified here."""
    apis = [services.api().ready() for _ in range(2)]
    key = new_key(apis[0].url)
    for api in apis:
        assert send("GET", f"{api.url}/banks", bearer(key)).status_code == 200

    async def revoke() -> list[int]:
        connection = await asyncpg.connect(services.database_url)
        sessions = [row["pid"] for row in await connection.fetch(f"SELECT pid {OUR_SESSIONS}")]
        assert len(sessions) == 2
        if listening == "which is ended":
            assert await connection.fetchval(f"SELECT count(pg_terminate_backend(pid)) {OUR_SESSIONS}") == 2
        elif listening == "which is frozen":
            for pid in sessions:
                os.kill(pid, signal.SIGSTOP)
        await connection.execute(REVOKE, keys.hash_of(key.encode()))
        await connection.close()
        return sessions

    sessions = asyncio.run(revoke())
    deadline = time.monotonic() + 1
    try:
        for api in apis:
            wait_for("it is refused", is_refused(api.url, bearer(key)), deadline - time.monotonic())
    finally:
        if listening == "which is frozen":
            for pid in sessions:
                os.kill(pid, signal.SIGCONT)


def test_a_key_works_as_soon_as_it_is_made_even_if_nobody_was_told(services: Services) -> None:
    api = services.api(**NEVER).ready()
    key = api_keys.new_key()
    assert send("GET", f"{api.url}/banks", bearer(key)).status_code == 401
    asyncio.run(insert(services.database_url, key, None, READ))
    assert send("GET", f"{api.url}/banks", bearer(key)).status_code == 200


def messages_without_requests(seconds: float) -> float:
    """What goes to the database at most: looks at the policy, at the lanes, at the rates."""
    return seconds / POLL_SECONDS + OTHER_LOOKS * (seconds / LOOK_SECONDS + 1)


def test_a_flood_of_unknown_keys_is_no_flood_of_queries(services: Services, wire: Wire) -> None:
    services.database_url = wire.url
    api = services.api(**NEVER).ready()

    async def try_keys(many: httpx.AsyncClient) -> set[int]:
        return {(await many.get(f"{api.url}/banks", headers=bearer(api_keys.new_key()))).status_code for _ in range(20)}

    async def flood() -> list[set[int]]:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=WAIT_SECONDS) as many:
            return await asyncio.gather(*(try_keys(many) for _ in range(20)))

    messages, began = wire.messages, time.monotonic()
    assert asyncio.run(flood()) == [{401}] * 20
    seconds = time.monotonic() - began
    assert wire.messages - messages <= seconds / SPACING_SECONDS + messages_without_requests(seconds)


def test_a_known_key_costs_no_query(services: Services, wire: Wire) -> None:
    services.cache().ready()
    services.database_url = wire.url
    key = bearer(made := api_keys.new_key())
    asyncio.run(insert(services.database_url, made, "bank1", READ))
    api = services.api(**NEVER).ready()
    assert send("GET", f"{api.url}/banks/bank1", key).status_code == 200
    before, began = wire.messages, time.monotonic()
    for _ in range(100):
        assert send("GET", f"{api.url}/banks", key).status_code == 200
    assert wire.messages - before <= messages_without_requests(time.monotonic() - began)
    wire.refuse()
    wire.cut()
    assert send("GET", f"{api.url}/banks/bank1", key).status_code == 200
    unreadable = send("GET", f"{api.url}/banks/bank1", bearer(api_keys.new_key()))
    assert "could not be checked" in refused(unreadable, 503, "database_away")["detail"]
    wire.accept()
    wait_for("keys are read again", is_refused(api.url, bearer(api_keys.new_key())))


def test_without_auth_everybody_is_an_operator_and_the_log_warns(services: Services) -> None:
    api = services.api(POLKA_NO_AUTH="true").ready()
    assert send("POST", f"{api.url}/banks", {}, {"name": "anybody"}).status_code == 201
    assert send("POST", f"{api.url}/transaction", {}, payment()).status_code == 201
    assert send("GET", f"{api.url}/keys", bearer("polka_wrong")).status_code == 200
    assert "EVERYBODY IS AN OPERATOR" in api.log.read_text()


@pytest.mark.parametrize("service", ["api", "cache"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1", "localhost"])
def test_without_auth_it_listens_to_this_machine_alone(database_url: str, service: str, host: str) -> None:
    if host == "::" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    words = [service, f"--host={host}", f"--port={free_port()}", "--no-auth"]
    said = one_line(command(*words, POLKA_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none"))
    assert said.startswith(
        "Without keys it may listen on this machine alone"
        if ":" in host or host[0] == "0"
        else "The database does not answer"
    )


def test_no_key_is_ever_in_a_log_or_an_error(server: postgres.Server, services: Services, wire: Wire) -> None:
    """Good and bad keys, in their place and out of it, also while the database goes away."""
    services.database_url = wire.url
    cache, api = services.cache().ready(), services.api().ready()
    made = client.post(f"{api.url}/keys", json={"name": "x"}).json()
    secrets = {"good": made["key"], "unknown": api_keys.new_key(), "revoked": new_key(api.url)}
    ids = {found["name"]: found["id"] for found in all_keys(api.url)}
    client.delete(f"{api.url}/keys/{ids['a test']}")
    answers: list[httpx.Response] = []

    def use_all() -> None:
        for secret in secrets.values():
            for sent in (bearer(secret), {"Authorization": secret}, {"Authorization": f"Basic {secret}"}):
                answers.append(send("POST", f"{api.url}/transaction", sent, payment(reference="x")))
                answers.append(send("GET", f"{api.url}/banks", sent))
                answers.append(send("GET", f"{cache.url}/balance", sent))
            answers.append(client.delete(f"{api.url}/keys/{secret}"))
            answers.append(client.post(f"{api.url}/keys", json={"name": "x", "key": secret}))

    use_all()
    wire.refuse()
    wire.cut()
    use_all()
    wire.accept()
    wait_for("it is ready", api.is_ready)
    answers.append(send("GET", f"{api.url}/keys", bearer(secrets["good"])))
    assert {answer.status_code for answer in answers} >= {201, 200, 400, 401, 403, 404, 503}
    told = [answer.text + str(answer.headers) for answer in answers]
    logs = [log.read_text() for log in (cache.log, api.log, server.log)]
    assert "could not be read" in logs[1]
    for secret in (*secrets.values(), CACHE_TOKEN, KEY):
        assert not [text for text in told + logs if secret.removeprefix("polka_") in text]
