"""A spammer and its page: to whom the key goes, what other sites can do, and that every run ends."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from polka.local.demo import free_port
from services import KEY, client, wait_for
from spammer import key
from spammers import Answers, spam, spamming, start_a_run, status

pytestmark = pytest.mark.usefixtures("with_a_key")

BANKS = '{"banks": [{"name": "bank1"}, {"name": "bank2"}], "cursor": null}'


class StandIn:
    """An api that knows two banks, and answers payments with these words; it counts who sends a key."""

    def __init__(
        self, words: str = '{"id": "1"}', status: int = 201, location: str | None = None, banks: str = BANKS
    ) -> None:
        self.asked: Counter[tuple[str, str | None]] = Counter()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(200, banks)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(status, words)

            def answer(self, status: int, words: str) -> None:
                stand_in.asked[self.command + self.path.partition("?")[0], self.headers["Authorization"]] += 1
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(words)))
                self.end_headers()
                self.wfile.write(words.encode())

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[StandIn]:
    api = StandIn()
    yield api
    api.close()


@pytest.fixture
def page(api: StandIn, tmp_path: Path) -> Iterator[str]:
    """The page of a spammer of that api."""
    port = free_port()
    page = f"http://127.0.0.1:{port}"
    with spamming(tmp_path / "log", api.url, "--web", f"--web-port={port}", "--transactions=0", "--rate=50"):
        wait_for("the page is served", lambda: "Locust" in client.get(page).raise_for_status().text)
        yield page


def test_the_key_goes_to_no_other_api_while_a_run_goes_on(page: str, api: StandIn) -> None:
    other = StandIn()
    try:
        start_a_run(page)
        wait_for("it pays", lambda: api.asked["POST/transaction", f"Bearer {KEY}"])
        start_a_run(page, host=f"{other.url}/", user_count="8")
        wait_for("new clients pay elsewhere", lambda: other.asked["POST/transaction", None] > 10)
        assert {key for _, key in other.asked} == {None}
    finally:
        other.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_the_key_is_not_sent_where_an_api_leads(processes: int) -> None:
    with Answers() as other:
        api = StandIn("", 307, other.url)
        done = spam(api.url, f"--processes={processes}", transactions=5)
        api.close()
        assert done.returncode == 1
        assert other.asked == 0


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Host": "rebound.example"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_neither_starts_nor_stops_a_run(page: str, api: StandIn, headers: dict[str, str]) -> None:
    form = {"user_count": "1", "spawn_rate": "1", "host": api.url}
    assert httpx.post(f"{page}/swarm", data=form, headers=headers, trust_env=False, verify=False).status_code == 403
    for path in ("/stop", "/stats/reset", "/stats/requests"):
        assert httpx.get(f"{page}{path}", headers=headers, trust_env=False, verify=False).status_code == 403
    assert status(page)["state"] == "ready"
    assert api.asked == Counter()


def test_the_page_itself_starts_a_run(page: str, api: StandIn) -> None:
    own = {"Origin": page, "Sec-Fetch-Site": "same-origin"}
    form = {"user_count": "1", "spawn_rate": "1", "host": api.url}
    assert httpx.post(f"{page}/swarm", data=form, headers=own, trust_env=False, verify=False).json()["success"]
    wait_for("it pays", lambda: api.asked["POST/transaction", f"Bearer {KEY}"])


def test_a_slash_behind_the_url_is_taken(api: StandIn) -> None:
    done = spam(f"{api.url}/", transactions=20)
    assert done.returncode == 0, done.stderr
    assert api.asked == {
        ("GET/hello", f"Bearer {KEY}"): 1,
        ("GET/banks", f"Bearer {KEY}"): 1,
        ("POST/transaction", f"Bearer {KEY}"): 20,
    }


def test_an_address_with_a_slash_is_the_same_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLKA_KEY", KEY)
    monkeypatch.setattr(key, "key_address", "")
    key.bind("http://127.0.0.1:8000/")
    for host in ("http://127.0.0.1:8000", "http://127.0.0.1:8000/"):
        key.check_host(host)
        assert key.authorization(key.address(host))


def test_an_exception_of_the_spammer_ends_its_payment() -> None:
    api = StandIn("no JSON")
    done = spam(api.url, "--mix=post=9,get=1", transactions=20)
    api.close()
    assert done.returncode == 1
    assert re.search(r"^ +20  exception$", done.stderr, re.MULTILINE), done.stderr
    assert "warning: exception: JSONDecodeError" in done.stderr


@pytest.mark.parametrize("answer", ['{"banks": 1}', "[]", "no JSON", '{"banks": [1], "cursor": null}'])
def test_an_api_that_is_none_is_one_clear_line(answer: str) -> None:
    api = StandIn("", 500, banks=answer)
    done = spam(api.url, "--banks=3", transactions=5)
    api.close()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"^Error: (The run cannot start|Nobody answers at)", done.stderr, re.MULTILINE), done.stderr


@pytest.mark.parametrize(
    ("option", "value"),
    [("pool", "-1"), ("retries", "-1"), ("accounts", "0"), ("client_timeout", "nan"), ("skew", "nan"), ("skew", "-1")],
)
def test_an_option_that_cannot_be_is_one_clear_line_on_the_page_too(
    page: str, tmp_path: Path, option: str, value: str
) -> None:
    start_a_run(page, **{option: value})
    refusal = f"Error: The run cannot start: --{option.replace('_', '-')}: must be "
    wait_for("it is refused", lambda: refusal in (tmp_path / "log").read_text())
    wait_for("it stands still", lambda: status(page)["state"] == "stopped")


def test_a_pool_of_fewer_than_none_is_refused() -> None:
    done = spam("http://127.0.0.1:1", "--pool=-1")
    assert done.returncode == 2
    assert "Invalid value for '--pool'" in done.stderr
