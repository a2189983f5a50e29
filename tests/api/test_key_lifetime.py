"""How long a key serves: expiry, rotation, revocation that cannot be read; and what a maker of keys may give."""

import asyncio
import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import asyncpg
import pytest

from bearers import NEVER, READ, REVOKE, SEND, insert, is_refused, new_key, send
from databases import execute
from front_door import fetch, refused
from polka.rules import keys
from polka.rules.keys import Caller, NewKey, Scope
from polka.store import api_keys
from raw import Raw, with_length
from requests_of_routes import TABLE
from running import Running
from services import Services, bearer, client, payment, wait_for
from wire import Wire

SOON = timedelta(hours=1)
WRITES = [
    (method, re.sub("{.*?}", "1", path))
    for (method, path), (scope, *_) in TABLE.items()
    if scope is not None and method != "GET"
]
"""All routes that record something."""


def make(url: str, maker: dict[str, str], **fields: Any) -> Any:
    return send("POST", f"{url}/keys", maker, {"name": "made", **fields})


def database_time(url: str) -> datetime:
    now: datetime = fetch(url, "SELECT clock_timestamp()")[0][0]
    return now


def test_a_key_is_refused_from_its_time_on_by_the_databases_clock(polka: Running) -> None:
    expires_at = database_time(polka.database_url) + timedelta(seconds=2)
    made = client.post(f"{polka.url}/keys", json={"name": "short", "expires_at": expires_at.isoformat()}).json()
    assert datetime.fromisoformat(made["expires_at"]) == expires_at
    seen: set[str] = set()
    while len(seen) < 2:
        before = database_time(polka.database_url)
        answers = [send("GET", f"{api.url}/banks", bearer(made["key"])).status_code for api in polka.apis]
        after = database_time(polka.database_url)
        if after < expires_at:
            assert answers == [200, 200]
            seen.add("before")
        elif before >= expires_at:
            assert answers == [401, 401]
            seen.add("after")
    refused(send("POST", f"{polka.url}/transaction", bearer(made["key"]), payment()), 401, "unauthorized")


def test_nobody_gives_more_than_he_has() -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    operator = Caller("1", None, frozenset(Scope))
    limited = Caller("2", None, frozenset({Scope.KEYS_WRITE, READ}), now)
    of_bank = Caller("3", "bank1", frozenset({Scope.KEYS_WRITE, READ}))
    assert NewKey("x", None, tuple(Scope)).beyond(operator) is None
    assert NewKey("x", "bank1").beyond(operator) is None
    assert NewKey("x", None, (READ,), now).beyond(limited) is None
    assert NewKey("x", "bank1", (READ,)).beyond(of_bank) is None
    beyond = [
        (limited, NewKey("x", None, (READ, SEND), now), "scopes"),
        (limited, NewKey("x", "bank1", (SEND,), now), "scopes"),
        (of_bank, NewKey("x", "bank2", (READ,)), "bank"),
        (of_bank, NewKey("x", None, (READ,)), "bank"),
        (limited, NewKey("x", None, (READ,)), "expires_at"),
        (limited, NewKey("x", None, (READ,), now + timedelta(microseconds=1)), "expires_at"),
    ]
    for maker, new, field in beyond:
        found = new.beyond(maker)
        assert found is not None
        assert found[0] == field


def test_a_key_that_expires_makes_none_that_outlives_it(polka: Running) -> None:
    expires_at = datetime.now(UTC) + SOON
    made = client.post(
        f"{polka.url}/keys",
        json={"name": "x", "scopes": ["keys:write"], "expires_at": expires_at.isoformat()},
    ).json()
    maker, scopes = bearer(made["key"]), ["keys:write"]
    for later in ({}, {"expires_at": (expires_at + timedelta(seconds=1)).isoformat()}):
        problem = refused(make(polka.url, maker, scopes=scopes, **later), 403, "forbidden")
        assert problem["field"] == "expires_at"
    assert make(polka.url, maker, scopes=scopes, expires_at=expires_at.isoformat()).status_code == 201


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_a_revoked_key_makes_no_other_even_before_the_api_knows(services: Services, column: str) -> None:
    """Nobody is told here, and the api has the key in memory."""
    api = services.api(**NEVER).ready()
    key = new_key(api.url, *Scope)
    update = f"UPDATE api_keys SET {column} = now() WHERE hash = '\\x{keys.hash_of(key.encode()).hex()}'"
    assert make(api.url, bearer(key)).status_code == 201
    asyncio.run(execute(services.database_url, update))
    refused(make(api.url, bearer(key)), 401, "unauthorized")
    assert fetch(services.database_url, "SELECT count(*) FROM api_keys WHERE name = 'made'") == [(1,)]


def test_two_keys_at_once_serve_a_rotation(polka: Running) -> None:
    """The new key is there before the old one is revoked. Both are the same caller."""
    old, new = (bearer(new_key(polka.url, bank="bank5")) for _ in range(2))
    headers = {"Idempotency-Key": "rotation"}
    first = send("POST", f"{polka.url}/transaction", old | headers, payment(sender="bank5"))
    assert first.status_code == 201
    again = send("POST", f"{polka.url}/transaction", new | headers, payment(sender="bank5"))
    assert again.json()["id"] == first.json()["id"]


def test_operators_with_every_scope_may_make_keys_after_the_migration(database_url: str) -> None:
    migration = import_module("polka.store.migrations.versions.0015_keys")
    before = [scope for scope in Scope if scope is not Scope.KEYS_WRITE]
    kept: dict[str, tuple[str | None, list[Any], dict[str, bool]]] = {
        "all": (None, before, {}),
        "revoked": (None, before, {"revoked_at": True}),
        "not all": (None, [Scope.OPERATE, READ], {}),
        "a bank's": ("bank1", before, {}),
    }
    made = {name: api_keys.new_key() for name in kept}

    async def work() -> dict[str, bool]:
        for name, (bank, scopes, now) in kept.items():
            await insert(database_url, made[name], bank, *scopes, **now)
        connection = await asyncpg.connect(database_url)
        await connection.execute(migration.KEYS_WRITE)
        await connection.execute(migration.KEYS_WRITE)
        found = {name: await api_keys.find(connection, key) for name, key in made.items()}
        await connection.close()
        return {name: "keys:write" in key.scopes for name, key in found.items() if key}

    assert asyncio.run(work()) == {"all": True, "revoked": False, "not all": False, "a bank's": False}


def test_when_a_key_was_last_used_is_recorded_later_and_costs_no_request(services: Services) -> None:
    api = services.api().ready()
    used, unused = (new_key(api.url, bank="bank1") for _ in range(2))
    for _ in range(10):
        assert send("GET", f"{api.url}/banks", bearer(used)).status_code == 200
    refused(send("GET", f"{api.url}/banks", bearer(api_keys.new_key())), 401, "unauthorized")
    times = "SELECT last_used_at FROM api_keys WHERE hash = '\\x{}'"

    def last_used(key: str) -> Any:
        return fetch(services.database_url, times.format(keys.hash_of(key.encode()).hex()))[0][0]

    assert last_used(used) is None, "no request waits for it"
    api.stop()
    assert database_time(services.database_url) - last_used(used) < SOON
    assert last_used(unused) is None


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_no_use_of_a_key_is_recorded_after_its_end(services: Services, column: str) -> None:
    api = services.api().ready()
    key = new_key(api.url, bank="bank1")
    assert send("GET", f"{api.url}/banks", bearer(key)).status_code == 200
    of_key = f"FROM api_keys WHERE hash = '\\x{keys.hash_of(key.encode()).hex()}'"
    asyncio.run(execute(services.database_url, f"UPDATE api_keys SET {column} = now() WHERE id = (SELECT id {of_key})"))
    api.stop()
    assert fetch(services.database_url, f"SELECT last_used_at = {column} {of_key}")[0][0]


def terminate(url: str, *purposes: str) -> None:
    names = ", ".join(f"'polka {purpose}'" for purpose in purposes)
    ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
    fetch(url, f"{ended} AND application_name IN ({names})")


def revoke(url: str, key: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(REVOKE, keys.hash_of(key.encode()))
        await connection.close()

    asyncio.run(work())


def cut_off(services: Services, wire: Wire, *purposes: str) -> tuple[Any, str, str]:
    """An api whose writer has its connection, but which gets no new ones; and two keys that have paid through it.

    The sessions of these purposes are gone.
    """
    services.cache().ready()
    direct, services.database_url = services.database_url, wire.url
    api = services.api().ready()
    services.database_url = direct
    good, stolen = (new_key(api.url, SEND, READ) for _ in range(2))
    for key in (good, stolen):
        assert send("POST", f"{api.url}/transaction", bearer(key), payment()).status_code == 201
        assert send("GET", f"{api.url}/transaction", bearer(key)).status_code == 200
    wire.refuse()
    terminate(direct, *purposes)
    return api, good, stolen


def test_a_revoked_key_is_refused_where_the_keyring_gets_no_session_of_its_own(services: Services, wire: Wire) -> None:
    """A reader's session serves, and all others pay on."""
    api, good, stolen = cut_off(services, wire, "api keys")
    revoke(services.database_url, stolen)
    wait_for("it is refused", is_refused(api.url, bearer(stolen)))
    assert send("POST", f"{api.url}/transaction", bearer(good), payment()).status_code == 201


def test_nothing_is_done_by_keys_that_could_not_be_read_for_long(services: Services, wire: Wire) -> None:
    """Commits would succeed. Reading goes on with what was last read."""
    api, good, stolen = cut_off(services, wire, "api keys", "api")
    revoke(services.database_url, stolen)
    url = f"{api.url}/transaction"
    wait_for("it is refused", lambda: send("POST", url, bearer(stolen), payment()).status_code == 503)
    for key in (stolen, good):
        problem = refused(send("POST", url, bearer(key), payment()), 503, "database_away")
        assert "could not be checked" in problem["detail"]
    for method, path in WRITES:
        problem = refused(send(method, api.url + path, bearer(good)), 503, "database_away")
        assert "could not be checked" in problem["detail"]
    assert send("GET", f"{api.url}/currencies", bearer(good)).status_code == 200
    wire.accept()
    wait_for("keys are read again", lambda: send("POST", url, bearer(good), payment()).status_code == 201)
    refused(send("POST", url, bearer(stolen), payment()), 401, "unauthorized")


def test_nothing_is_paid_by_a_body_that_ends_long_after_keys_were_last_read(services: Services, wire: Wire) -> None:
    """Its head came while the keys had just been read."""
    api, good, stolen = cut_off(services, wire, "api keys", "api")
    revoke(services.database_url, stolen)
    body = json.dumps(payment()).encode()
    url = f"{api.url}/transaction"
    with Raw(api.url) as raw:
        raw.send(with_length("POST", "/transaction?timeout=5m", f"Authorization: Bearer {stolen}", body=body)[:-1])
        wait_for("keys are too old", lambda: send("POST", url, bearer(good), payment()).status_code == 503)
        raw.send(body[-1:])
        status, _, answer = raw.answer()
    assert status == 503, answer
    assert json.loads(answer)["code"] == "database_away"


def test_an_unknown_key_is_refused_by_an_api_that_was_not_scheduled(services: Services) -> None:
    """A process that stood still takes its session for a dead one."""
    api = services.api().ready()
    pid = api.process.pid
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            answers = [pool.submit(send, "GET", f"{api.url}/banks", bearer(api_keys.new_key())) for _ in range(8)]
            time.sleep(0.01)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.7)
            os.kill(pid, signal.SIGCONT)
            assert {answer.result().status_code for answer in answers} == {401}
