"""The steps before a run: wait for the api, open banks, and agree terms with some banks."""

import time
import uuid
from collections.abc import Sequence
from typing import Any

import gevent
import requests
from locust.env import Environment
from locust.runners import MasterRunner, Runner

from polka.rules import duration, spam_options
from polka.rules.facts import fact
from polka.store.seed import bank_name
from spammer.key import address, authorization, check_host
from spammer.options import headers_of
from spammer.outcome import Answer, problem
from spammer.run import plan_of, present
from spammer.terminal import say
from spammer.trust import AUTHORITIES

HELLO_SECONDS = 5.0
WAIT_SECONDS = 0.5
PAGE = 500
FEE = {"fixed": 25, "basis_points": 10}
"""A quarter of a dollar and 0.1 %, say, of a bank with terms."""
UNAUTHORIZED, FORBIDDEN, CONFLICT = 401, 403, 409


class UnknownKeyError(ValueError):
    """The api does not know the key."""


def set_out(environment: Environment, runner: Runner, options: Any) -> None:
    """Choose the common options of all processes: workers get these options. Without banks there is no run."""
    options.run_id = options.run_name or uuid.uuid4().hex[:12]
    options.workers = present(runner) if isinstance(runner, MasterRunner) else []
    options.bank_names = []
    if isinstance(runner, MasterRunner) and runner.target_user_count < len(options.workers):
        say(f"Error: The run cannot start: {len(options.workers)} processes need as many workers, or some would idle.")
        return
    try:
        spam_options.check(vars(options))
        check_host(environment.host)
        banks = banks_of(environment, options)
        plan_of(options, banks)
        agree_terms(environment, options, banks)
    except requests.RequestException as error:
        say(f"Error: Nobody answers at {address(environment.host)}: {reason(error)}")
    except ValueError as error:
        say(f"Error: The run cannot start: {error}")
    except Exception as error:  # after any exception Locust would go on without a run, for ever
        say(f"Error: The run cannot start: {address(environment.host)} does not answer like a Polka: {error!r}")
    else:
        options.bank_names = banks


def banks_of(environment: Environment, options: Any) -> list[str]:
    """The banks to pay between, once the api answers."""
    ends_at = time.monotonic() + duration.read(options.wait)
    said = ""
    while True:
        try:
            ask(environment, "GET", "/hello")
            return open_banks(environment, options.banks) if options.banks else bank_names(environment)
        except (requests.RequestException, UnknownKeyError) as error:
            if time.monotonic() + WAIT_SECONDS > ends_at:
                raise
            if reason(error) != said:
                said = reason(error)
                say(f"Waiting for {address(environment.host)}: {said}")
        gevent.sleep(WAIT_SECONDS)


def agree_terms(environment: Environment, options: Any, banks: Sequence[str]) -> None:
    """Agree a net debit cap and fees in each currency with the last of the banks.

    Raises:
        ValueError: there are too few banks, or the key has no right to change terms.
        requests.RequestException: the api is down, or answers with an error.
    """
    if not 0 <= options.terms <= len(banks):
        raise ValueError(f"--terms: must be 0 to {len(banks)}, the number of banks.")
    currencies = spam_options.read_currencies(options.currencies)
    caps = spam_options.read_caps(options.cap)
    terms = {"caps": {currency: caps[currency] for currency in currencies}, "fees": dict.fromkeys(currencies, FEE)}
    for bank in banks[len(banks) - options.terms :]:
        ask(environment, "PATCH", f"/banks/{bank}", json=terms)


def open_banks(environment: Environment, count: int) -> list[str]:
    """The first `count` banks of `polka seed`. Missing banks are opened."""
    there = set(bank_names(environment))
    wanted = [bank_name(number) for number in range(1, count + 1)]
    for name in wanted:
        if name not in there:
            ask(environment, "POST", "/banks", json={"name": name})
    return wanted


def bank_names(environment: Environment) -> list[str]:
    """Of all existing banks."""
    names: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = ask(environment, "GET", "/banks", params={"cursor": cursor, "limit": PAGE}).json()
        names += [bank["name"] for bank in page["banks"]]
        cursor = page["cursor"]
    return names


def ask(environment: Environment, method: str, path: str, **request: Any) -> requests.Response:
    """An answer of the api before a run. A conflict is an answer, too: another spammer has opened the bank meanwhile.

    Raises:
        UnknownKeyError: the api does not know the key yet.
        ValueError: the key has no right to this request.
        requests.RequestException: the api is down, or answers with an error.
    """
    url = address(environment.host)
    headers = headers_of(environment.parsed_options) | authorization(url)
    with requests.Session() as session:
        session.verify = AUTHORITIES
        session.trust_env = False  # ignores keys in a .netrc, and proxies, which users ignore too
        response = session.request(
            method, url + path, headers=headers, timeout=HELLO_SECONDS, allow_redirects=False, **request
        )
    if response.is_redirect:
        raise ValueError(f"{url} leads elsewhere, to {response.headers['location']}.")
    if response.status_code == UNAUTHORIZED:
        raise UnknownKeyError("the api asks for a key that is valid: give one with --key, or as POLKA_KEY.")
    if response.status_code == FORBIDDEN:
        raise ValueError(f"{method} {path}: {problem(Answer(response.status_code, response.text))[1]}")
    if response.status_code != CONFLICT:
        response.raise_for_status()
    return response


def reason(error: Exception) -> str:
    """The cause of an error of requests and urllib3."""
    inner = fact(getattr(error.args[0], "reason", error) if error.args else error)
    return inner.partition("): ")[2] or inner
