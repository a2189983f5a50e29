"""The question for one account's balance: answered at the door, or as all others."""

import re
from typing import Any

import httpx
import pytest

from api.routes.account import ROUTE, AccountLane
from api.routes.banks import KnownBanks
from bearers import key_of_bank, new_key, send
from front_door import refused
from polka.rules.keys import Caller, Scope
from running import Running
from services import bearer, client, payment
from wires import answered

pytestmark = pytest.mark.anyio
PAGE = b'{"bank":"bank5","cursor":null}'
READER = Caller("key", None, frozenset({Scope.TRANSACTIONS_READ}))
PLAIN: dict[str, Any] = {
    "method": "GET",
    "path": "/banks/bank5/accounts",
    "query_string": b"account=ACC1",
    "fields": {},
    "caller": READER,
}
OTHERS: dict[str, dict[str, Any]] = {
    "another method": {"method": "POST"},
    "HEAD": {"method": "HEAD"},
    "another path": {"path": "/banks/bank5/accounts/"},
    "an unknown bank": {"path": "/banks/bank6/accounts"},
    "a bank's name with a line break": {"path": "/banks/bank5\n/accounts"},
    "no query": {"query_string": b""},
    "another parameter": {"query_string": b"account=ACC1&limit=5"},
    "the parameter twice": {"query_string": b"account=ACC1&account=ACC1"},
    "a long account": {"query_string": b"account=" + b"A" * 35},
    "an encoded account": {"query_string": b"account=ACC%31"},
    "its own timeout": {"fields": {b"request-timeout": b"1s"}},
    "a coding": {"fields": {b"content-encoding": b"gzip"}},
    "another bank's key": {"caller": Caller("key", "bank6", READER.scopes)},
    "a key without the scope": {"caller": Caller("key", None, frozenset({Scope.BANKS_WRITE}))},
}


class Answered:
    """What a lane has done with a request: sent an answer, or given it to the app."""

    def __init__(self, cache: httpx.Response) -> None:
        self.app_has_it = False
        self.asked: list[str] = []
        self.sent: list[Any] = []
        self._cache = cache

    async def by(self, scope: dict[str, Any]) -> "Answered":
        def answer(request: httpx.Request) -> httpx.Response:
            self.asked.append(str(request.url))
            return self._cache

        known = KnownBanks(None)  # type: ignore[arg-type]
        known._names |= {"bank5", "The bank-5"}
        await AccountLane(self._app, known, answered(answer))(scope, self._receive, self._send)
        return self

    async def _app(self, *_: Any) -> None:
        self.app_has_it = True

    async def _receive(self) -> Any:
        raise AssertionError("a GET has no body")

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


async def test_a_plain_question_is_answered_at_the_door() -> None:
    scope = dict(PLAIN)
    done = await Answered(httpx.Response(200, content=PAGE)).by(scope)
    assert not done.app_has_it
    assert done.asked == ["http://cache/balance/bank5/accounts?account=ACC1"]
    assert [message.get("status", message.get("body")) for message in done.sent] == [200, PAGE + b"\n"]
    assert scope["path_template"] == ROUTE


async def test_a_banks_name_is_quoted_for_the_cache() -> None:
    done = await Answered(httpx.Response(200, content=PAGE)).by(PLAIN | {"path": "/banks/The bank-5/accounts"})
    assert (done.app_has_it, done.asked) == (False, ["http://cache/balance/The%20bank-5/accounts?account=ACC1"])


@pytest.mark.parametrize("other", OTHERS)
async def test_all_else_goes_on_to_the_app(other: str) -> None:
    done = await Answered(httpx.Response(200, content=PAGE)).by(PLAIN | OTHERS[other])
    assert (done.app_has_it, done.asked, done.sent) == (True, [], [])


async def test_the_app_reads_the_database_while_the_cache_is_away() -> None:
    done = await Answered(httpx.Response(503, json={"detail": "The cache is starting."})).by(dict(PLAIN))
    assert (done.app_has_it, done.sent) == (True, [])


def test_both_ways_give_the_same_answer(polka: Running) -> None:
    for bank in ("bank5", "bank6"):
        assert client.post(f"{polka.url}/transaction", json=payment(sender=bank)).status_code == 201
    url = f"{polka.url}/banks/bank5/accounts?account="
    operators = bearer(new_key(polka.url, Scope.TRANSACTIONS_READ))
    for account in ("ACC1", "NONE"):
        for headers in (operators, key_of_bank(polka.url, "bank5")):
            one, page = send("GET", f"{url}{account}", headers), send("GET", f"{url}{account}&limit=500", headers)
            assert (one.status_code, page.status_code) == (200, 200)
            assert (one.headers.keys(), one.headers["content-type"]) == (
                page.headers.keys(),
                page.headers["content-type"],
            )
            assert [found["account"] for found in one.json()["accounts"]] == [
                found["account"] for found in page.json()["accounts"]
            ]
            assert one.json().keys() == page.json().keys()
            assert one.text.endswith("}\n")
    refused(send("GET", f"{url}ACC1", key_of_bank(polka.url, "bank6")), 403, "forbidden")
    refused(send("GET", f"{url}ACC1", bearer(new_key(polka.url, Scope.BANKS_WRITE))), 403, "forbidden")
    counted = client.get(f"{polka.metrics_url}/metrics").text
    assert f'polka_http_requests_total{{method="GET",route="{ROUTE}",status="200"}}' in counted
    assert set(re.findall(r'route="([^"]*/accounts[^"]*)"', counted)) == {ROUTE}
