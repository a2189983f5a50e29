"""The console's feed: who may read it, that its figures are the API's, what it does without cache or database, and that
a reader that does not read holds nobody up."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import psutil
import pytest
import uvicorn

from api.console.feed import STREAMS_MAX
from bearers import new_key, send
from exposed import value
from front_door import refused
from polka.edge import connections, server
from polka.edge.bounds import Bounds
from polka.edge.drain import Drain
from polka.edge.gate import Gate
from polka.local.kept_keys import console_key
from polka.rules.keys import Scope
from polka.store import api_keys
from running import Running
from services import KEY, Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS
from wire import Wire

CAP = 10**13


@pytest.fixture(scope="module")
def polka(own_polka: Running) -> Running:
    return own_polka


def session(url: str, key: str = KEY) -> dict[str, str]:
    """The header of a browser that has traded its key."""
    response = httpx.post(
        f"{url}/console/session", headers=bearer(key), trust_env=False, verify=False, timeout=WAIT_SECONDS
    )
    assert response.status_code == 204, response.text
    return {"Cookie": response.headers["set-cookie"].partition(";")[0]}


@contextlib.contextmanager
def snapshots(url: str, headers: dict[str, str] | None = None, **params: str) -> Iterator[Iterator[dict[str, Any]]]:
    """What a console is sent, from now on, for a while."""
    headers = session(url) if headers is None else headers
    with (
        httpx.Client(trust_env=False, verify=False, timeout=WAIT_SECONDS, headers=headers) as reader,
        reader.stream("GET", f"{url}/console/events", params=params) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield within(WAIT_SECONDS, response.iter_lines())


def test_the_address_alone_leads_browsers_to_the_console_and_tells_programs_where_all_is(polka: Running) -> None:
    """Without a key. A program that takes anything is none of a browser."""
    browsers = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    led = httpx.get(f"{polka.url}/", headers={"Accept": browsers}, trust_env=False, verify=False)
    assert (led.status_code, led.headers["location"]) == (303, "/console")
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        told = httpx.get(f"{polka.url}/", headers={"Accept": accept}, trust_env=False, verify=False)
        assert told.status_code == 200
        assert told.headers["vary"] == "Accept"
        assert told.json()["name"] == "polka"
        for path in told.json()["links"].values():
            assert httpx.get(f"{polka.url}{path}", trust_env=False, verify=False).status_code == 200
    refused(httpx.get(f"{polka.url}/nothing", trust_env=False, verify=False), 401, "unauthorized")


def opening(url: str, headers: dict[str, str]) -> httpx.Response:
    """The answer to whoever opens a stream, which is not read."""
    with httpx.stream(
        "GET", f"{url}/console/events", headers=headers, trust_env=False, verify=False, timeout=WAIT_SECONDS
    ) as response:
        if not response.is_success:
            response.read()
    return response


def within(seconds: float, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + seconds
    for line in lines:
        assert time.monotonic() < deadline, line
        if line.startswith('data: {"at"'):
            yield json.loads(line.removeprefix("data: "))


def pay(url: str, amount: int = 100, **fields: Any) -> str:
    response = client.post(f"{url}/transaction", json=payment(amount, **fields))
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def test_its_figures_are_those_of_the_api(polka: Running) -> None:
    client.patch(f"{polka.url}/banks/bank1", json={"caps": {"USD": CAP}}).raise_for_status()
    pay(polka.url, 10**12)
    made = pay(polka.url, 1250)
    pay(polka.apis[1].url, 7, currency="JPY")
    with snapshots(polka.url, currency="USD") as seen:
        for snapshot in seen:
            overview, records = snapshot["overview"], snapshot["records"]
            book = overview["book"]
            if records["payments"][1]["id"] == made and overview["cache"]["pending"] == 0:
                break
    assert records["payments"][1]["amount"] == "1250"
    assert overview["currencies"] == ["JPY", "USD"]
    assert book["currency"] == "USD"
    for standing in book["standings"]:
        shown = client.get(f"{polka.url}/banks/{standing['bank']}").json()
        [held] = [one for one in shown["balances"] if one["currency"] == "USD"]
        assert (standing["posted"], standing["pending"]) == (str(held["posted"]), str(held["pending"]))
        assert standing["cap"] == (str(CAP) if standing["bank"] == "bank1" else None)
    liquidity = client.get(f"{polka.url}/liquidity").json()
    [usd] = [one for one in liquidity["currencies"] if one["currency"] == "USD"]
    assert [book[name] for name in ("owes", "owed", "held")] == [str(usd[name]) for name in ("owes", "owed", "held")]
    assert book["highest"] == str(usd["highest"]["owed"])
    assert records["windows"][0]["state"] == "open"
    assert overview["cache"]["epoch"] > 0
    assert overview["cache"]["flush"] == liquidity["as_of"]["flush"]


def test_every_api_tells_of_all_processes(polka: Running) -> None:
    pids = {api.process.pid for api in polka.apis}
    for api in polka.apis:
        with snapshots(api.url) as seen:
            for snapshot in seen:
                if {heard["pulse"]["pid"] for heard in snapshot["overview"]["apis"]} == pids:
                    break
    assert snapshot["overview"]["cache"]["pid"] == polka.cache.process.pid


def test_a_payment_through_another_api_is_shown_within_a_second(polka: Running) -> None:
    with snapshots(polka.url, currency="USD") as seen:
        next(seen)
        made, at = pay(polka.apis[1].url), time.monotonic()
        wanted = {"payment", "rate", "position"}
        before = client.get(f"{polka.url}/banks/bank2").json()
        [held] = [one for one in before["balances"] if one["currency"] == "USD"]
        for snapshot in seen:
            overview = snapshot["overview"]
            if snapshot["records"]["payments"][0]["id"] == made:
                wanted.discard("payment")
            if overview["rates"]["committed"] > 0:
                wanted.discard("rate")
            [bank2] = [one for one in overview["book"]["standings"] if one["bank"] == "bank2"]
            if int(bank2["posted"]) + int(bank2["pending"]) == held["posted"] + held["pending"]:
                wanted.discard("position")
            if not wanted:
                break
        assert time.monotonic() - at < 1


def test_a_session_reads_the_events_and_nothing_else(polka: Running) -> None:
    cookie = session(polka.url)
    with snapshots(polka.apis[1].url, cookie) as seen:  # any api takes it
        assert next(seen)["api"]
    for method, path in (("GET", "/banks"), ("POST", "/clearing"), ("POST", "/console/session"), ("GET", "/keys")):
        refused(send(method, f"{polka.url}{path}", cookie), 401, "unauthorized")
    name, _, value = cookie["Cookie"].partition("=")
    for wrong in (value[:-1], value + "0", f"x{value}", "", "..", value.replace(".", "")):
        refused(opening(polka.url, {"Cookie": f"{name}={wrong}"}), 401, "unauthorized")


def test_a_session_and_its_stream_end_with_its_key(polka: Running) -> None:
    made = client.post(f"{polka.url}/keys", json={"name": "console", "scopes": ["operate"]}).json()
    cookie = session(polka.url, made["key"])
    with snapshots(polka.url, cookie) as seen:
        next(seen)
        client.delete(f"{polka.url}/keys/{made['id']}").raise_for_status()
        assert len(list(seen)) <= 4
    refused(opening(polka.url, cookie), 401, "unauthorized")


def test_a_cookie_is_kept_from_scripts_and_from_other_sites(polka: Running) -> None:
    made = send("POST", f"{polka.url}/console/session", bearer(KEY)).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/console"} <= set(made.split("; "))
    assert "secure" not in made
    secure = send(
        "POST",
        f"{polka.url}/console/session",
        {**bearer(KEY), "Origin": "https://polka.example", "Host": "polka.example"},
    )
    assert "secure" in secure.headers["set-cookie"].lower()


def test_a_console_sees_what_was_before_it_was_opened(polka: Running) -> None:
    pay(polka.url)
    with snapshots(polka.url) as seen:
        first, second = next(seen), next(seen)
    assert len(first["overview"]["lines"]) > 3
    assert any(committed > 0 for _, committed, *_ in first["overview"]["lines"])
    assert second["overview"]["lines"] == []


@pytest.mark.anyio
async def test_polka_up_keeps_the_consoles_key_where_its_owner_alone_can_read_it(
    connection: asyncpg.Connection, tmp_path: Path
) -> None:
    key = await console_key(connection, tmp_path)
    assert await console_key(connection, tmp_path) == key
    assert (tmp_path / "console-key").stat().st_mode & 0o777 == 0o600
    found = await api_keys.find(connection, key)
    assert found
    assert set(found.scopes) == {"operate", "transactions:read"}
    await api_keys.revoke(connection, UUID(found.id))
    assert await console_key(connection, tmp_path) != key


def test_only_a_key_that_operates_opens_it(polka: Running) -> None:
    reader = bearer(new_key(polka.url, Scope.TRANSACTIONS_READ))
    refused(send("POST", f"{polka.url}/console/session", reader), 403, "forbidden")
    refused(opening(polka.url, reader), 403, "forbidden")


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://elsewhere"}]
)
def test_another_sites_page_gets_nothing(polka: Running, headers: dict[str, str]) -> None:
    refused(opening(polka.url, {**session(polka.url), **headers}), 403, "forbidden")
    refused(send("POST", f"{polka.url}/console/session", {**bearer(KEY), **headers}), 403, "forbidden")


def test_its_page_needs_no_key_and_nothing_from_elsewhere(polka: Running) -> None:
    page = send("GET", f"{polka.url}/console", {})
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "/console/glossary.html" in page.text
    glossary = send("GET", f"{polka.url}/console/glossary.html", {})
    assert glossary.headers["content-security-policy"] == policy
    assert "<strong>Net debit cap</strong>" in glossary.text
    refused(send("GET", f"{polka.url}/console/nothing.js", {}), 404, "not_found")
    refused(send("GET", f"{polka.url}/console/..%2fscalar-1.46.4.js.gz", {}), 401, "unauthorized")


def consoles(url: str) -> float:
    """How many are open at this api."""
    return value(url, "polka_open_consoles") or 0


@contextlib.contextmanager
def deaf(polka: Running, count: int) -> Iterator[list[socket.socket]]:
    """Consoles that read nothing."""
    cookie = session(polka.url)["Cookie"]
    host, port = polka.url.removeprefix("http://").split(":")
    request = f"GET /console/events HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((host, int(port)))
            one.sendall(request.encode())
        wait_for("all are open", lambda: consoles(polka.metrics_url) == count)
        yield opened


def test_consoles_that_read_nothing_hold_nobody_up_and_nothing_is_kept_for_them(polka: Running) -> None:
    api = psutil.Process(polka.apis[0].process.pid)
    with deaf(polka, STREAMS_MAX) as opened:
        refused(opening(polka.url, session(polka.url)), 503, "overloaded")
        before, paid, deadline = api.memory_info().rss, 0, time.monotonic() + 8
        while time.monotonic() < deadline:
            pay(polka.url)
            paid += 1
        assert paid > 200
        assert api.memory_info().rss - before < STREAMS_MAX * 2**17
        one = opened[0]
        one.settimeout(0.2)
        kept = 0
        with contextlib.suppress(TimeoutError):
            while part := one.recv(2**20):
                kept += len(part)
        assert kept < 150_000
    wait_for("none is open any more", lambda: consoles(polka.metrics_url) == 0)


@pytest.mark.anyio
async def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.2)
    ended = asyncio.Event()

    async def endless(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            await asyncio.sleep(0)
        ended.set()

    config = uvicorn.Config(endless, lifespan="off", log_config=None)
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    with server.listen("127.0.0.1", 0) as listening:
        listener = await loop.create_server(
            partial(server.protocol(Drain(0), Gate(Bounds())), config=config, server_state=state, app_state={}),
            sock=listening,
        )
        with socket.create_connection(listening.getsockname()) as deaf:
            deaf.sendall(b"GET / HTTP/1.1\r\nHost: polka\r\n\r\n")
            async with asyncio.timeout(WAIT_SECONDS):
                await ended.wait()
        listener.close()


def test_without_the_cache_it_shows_what_the_database_and_the_api_know(polka: Running) -> None:
    made = pay(polka.url)
    wait_for("it is posted", lambda: client.get(f"{polka.url}/transaction/{made}").json()["posted_at"])
    polka.cache.kill()
    try:
        with snapshots(polka.url, currency="USD") as seen:
            overview = next(snapshot["overview"] for snapshot in seen if snapshot["overview"]["cache"] is None)
        assert [heard["pulse"]["pid"] for heard in overview["apis"]] == [polka.apis[0].process.pid]
        assert overview["book"]["standings"]
        for standing in overview["book"]["standings"]:
            shown = client.get(f"{polka.url}/banks/{standing['bank']}").json()
            [held] = [one for one in shown["balances"] if one["currency"] == "USD"]
            assert (standing["posted"], standing["pending"]) == (str(held["posted"]), None)
    finally:
        polka.cache.restart()
    with snapshots(polka.url) as seen:
        assert next(snapshot for snapshot in seen if snapshot["overview"]["cache"])


def test_without_the_database_it_shows_what_the_cache_knows(services: Services, wire: Wire) -> None:
    services.cache().ready()
    services.database_url = wire.url
    url = services.api().ready().url
    with snapshots(url) as seen:
        assert next(seen)["records"]
        wire.refuse()
        wire.cut()
        away = next(snapshot for snapshot in seen if snapshot["records"] is None)
        assert away["overview"]["cache"]["epoch"] == 1
        wire.accept()
        assert next(snapshot for snapshot in seen if snapshot["records"])
