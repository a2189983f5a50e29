"""Sessions of the console as values, and who may open it where no key is asked for."""

import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http import sessions
from polka.rules.same_site import is_from_elsewhere, is_local
from services import Services
from waiting import WAIT_SECONDS

SECRET = "a secret that all apis have"
times = st.integers(0, 10**10)


@given(st.uuids(), times, times)
def test_a_session_stands_for_its_key_until_it_is_over(key: object, until: int, now: int) -> None:
    session = sessions.sign(SECRET, str(key), until)
    assert sessions.key_of(SECRET, session, now) == (str(key) if now < until else None)
    assert sessions.key_of("another secret", session, now) is None


@given(st.text(), st.text(), st.text())
def test_what_nobody_signed_is_no_session(key: str, until: str, code: str) -> None:
    assert sessions.key_of(SECRET, f"{key}.{until}.{code}", 0) is None
    assert sessions.key_of(SECRET, code, 0) is None


@given(st.uuids(), times, st.data())
def test_a_session_that_was_changed_is_none(key: object, until: int, data: st.DataObject) -> None:
    session = sessions.sign(SECRET, str(key), until)
    place = data.draw(st.integers(0, len(session) - 1))
    other = data.draw(st.characters(codec="latin-1").filter(lambda character: character != session[place]))
    assert sessions.key_of(SECRET, session[:place] + other + session[place + 1 :], 0) is None


@given(st.binary())
def test_a_cookie_may_be_anything(value: bytes) -> None:
    sessions.in_cookies([(b"cookie", value)])
    assert sessions.in_cookies([(b"cookie", b"other=1; polka_console=a.1.b"), (b"x", value)]) == "a.1.b"


def test_all_cookie_headers_count() -> None:
    """A proxy that speaks HTTP/2 to browsers may send each cookie in a header of its own."""
    assert sessions.in_cookies([(b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d; polka_console=a.1.b")]) == "a.1.b"
    assert sessions.in_cookies([(b"cookie", b"a=b"), (b"cookie", b"not_polka_console=a.1.b")]) is None


def test_a_head_full_of_cookies_takes_no_time() -> None:
    """As many as fit into a head: parsing each of them as a cookie took a third of a second."""
    many = [(b"cookie", b"a=b;" * 16_000)]
    began = time.thread_time()
    for _ in range(5):
        assert sessions.in_cookies(many) is None
    assert time.thread_time() - began < 0.5


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]", "10.1.2.3"])
def test_a_name_that_can_be_nobody_elses(host: str) -> None:
    assert is_local(host)


@pytest.mark.parametrize("host", ["", "polka.example", "localhost.example:8000", "127.0.0.1.example", "1.2.3.4.5:80"])
def test_a_name_that_may_be_anybodys(host: str) -> None:
    assert not is_local(host)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost:8000"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://localhost:8001"}, True),
        ({"origin": "null"}, True),
    ],
)
def test_a_page_of_another_site_is_told_apart(headers: dict[str, str], expected: bool) -> None:
    assert is_from_elsewhere(headers, "localhost:8000") == expected


def test_without_keys_it_opens_under_names_that_are_this_machines_alone(services: Services) -> None:
    url = services.api(POLKA_NO_AUTH="true").ready().url
    for host, status in ((httpx.URL(url).netloc.decode(), 204), ("localhost", 204), ("rebound.example", 403)):
        opened = httpx.post(
            f"{url}/console/session", headers={"Host": host}, trust_env=False, verify=False, timeout=WAIT_SECONDS
        )
        assert opened.status_code == status, opened.text
        assert "set-cookie" not in opened.headers
    with httpx.stream("GET", f"{url}/console/events", trust_env=False, verify=False, timeout=WAIT_SECONDS) as response:
        assert response.status_code == 200
    with httpx.stream(
        "GET",
        f"{url}/console/events",
        headers={"Host": "rebound.example"},
        trust_env=False,
        verify=False,
        timeout=WAIT_SECONDS,
    ) as response:
        assert response.status_code == 403
