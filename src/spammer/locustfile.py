"""The spammer, a plain locustfile: exactly N payments, or no end of them, from any number of users and processes.

Each process counts its own tally and sends it to the master; whoever sees that all N have ended stops the run.
"""

import json
import logging
import math
import os
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flask
import gevent
import requests
from gevent.event import Event
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, Runner, WorkerRunner

from polka.rules.money import AMOUNT_MAX
from polka.rules.same_site import is_from_elsewhere, is_local, is_loopback
from polka.store.seed import bank_name
from spammer import metrics
from spammer.mix import NO_MIX, read_mix
from spammer.plan import Plan, Tickets, plan, read_currencies
from spammer.tally import ACCEPTED, GOOD_ENDS, Tally, progress, summary

TALLY = "polka_tally"
REPORT_SECONDS = 0.25
HELLO_SECONDS = 5.0
WAIT_SECONDS = 0.5
PAGE = 500
BULK_MAX = 1_000
RATE_MAX = 1_000_000
MINE_MAX = 100
NO_ANSWER = "no_answer"
BROKEN = "exception"
"""The spammer itself failed at a request. The request has ended with that, or the run would wait for it for ever."""
FEE = {"fixed": 25, "basis_points": 10}
"""A quarter of a dollar and 0.1 %, say, of a bank with terms."""
SKEW_MAX = 100
LEAST = {"pool": 0, "retries": 0, "banks": 0, "accounts": 1, "wait": 0}
UNAUTHORIZED, FORBIDDEN, CONFLICT, TOO_MANY_REQUESTS, SERVER_ERROR = 401, 403, 409, 429, 500
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 2.0
WORKER_SILENT_SECONDS = 3.0
NOT_ALL_WELL = 1


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    add = parser.add_argument
    add("--transactions", type=int, default=20_000, help="Payments, in all; 0: until it is stopped.")
    add("--seed", type=int, default=1, help="The same seed draws the same payments.")
    add("--skew", type=float, default=0.0, help="Zipf's exponent: with 1 some banks and accounts are hot.")
    add("--banks", type=int, default=0, help="Pay between bank1 and so on, so many, opened if need be; 0: all banks.")
    add("--currencies", default="USD", help="Of the payments, in equal shares: USD,EUR,JPY.")
    add("--across", type=float, default=0.0, help="The share of payments whose receiver gets another of these.")
    add("--terms", type=int, default=0, help="Agree caps and fees with so many banks, the last ones, before the run.")
    add("--cap", type=int, default=5_000_000, help="What each of them may owe, in minor units of each currency.")
    add("--accounts", type=int, default=1_000, help="Accounts at each bank.")
    add("--rate", type=float, default=0.0, help="Payments a second (open loop); 0: each user when it can.")
    add("--mix", default="post=100", help="What goes with payments: post=90,delete=5,patch=3,get=2.")
    add("--bulk", type=int, default=1, help="Payments in one request; more than 1 go to POST /transactions.")
    add("--retries", type=int, default=40, help="Attempts beyond the first, with the same key.")
    add("--client-timeout", type=float, default=15.0, help="Seconds to wait for an answer.")
    add("--connect-timeout", type=float, default=5.0, help="Seconds to wait for a connection.")
    add("--pool", type=int, default=0, help="Connections that the users share; 0: one each.")
    # Not on the page: what its form would send for a list without a value, Locust cannot read.
    add("--header", action="append", default=[], include_in_web_ui=False, help="`Name: value`; may be repeated.")
    add("--progress", choices=["line", "lines", "none"], default="line", include_in_web_ui=False, help="Or lines.")
    add("--run-name", default="", help="Part of each idempotency key; a repeated name repeats its run.")
    add("--metrics-host", default="127.0.0.1", include_in_web_ui=False, help="Where /metrics is served.")
    add("--metrics-port", type=int, default=0, include_in_web_ui=False, help="Its port; 0: it is not served.")
    add("--wait", type=float, default=0.0, help="Seconds to wait for an api that answers.")


class UnknownKeyError(ValueError):
    """The api does not know the key that is sent to it."""


@dataclass(frozen=True)
class Request:
    """What one request asks for, and what that is called in metrics."""

    operation: str
    method: str
    path: str
    body: Any = None


def many(payments: Sequence[Any]) -> Request:
    return Request("bulk", "POST", "/transactions", payments)


class Run:
    """One run, as one process knows it; `plan` is None where it cannot start."""

    def __init__(self, environment: Environment, runner: Runner, options: Any) -> None:
        self.environment = environment
        self.runner = runner
        self.options = options
        self.tally = Tally()
        self.others: dict[str, Tally] = {}
        self.is_over = False
        self.is_stopping = Event()
        can_start = bool(options.bank_names)
        self.plan = plan_of(options, options.bank_names) if can_start else None
        self.mix = read_mix(options.mix) if can_start else NO_MIX
        self.tickets = tickets(runner, options)
        self.began = time.monotonic()
        self._warned: set[str] = set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def total(self) -> Tally:
        """Of all processes."""
        total = Tally()
        for part in (self.tally, *self.others.values()):
            total.add(part)
        return total

    def report(self, runner: WorkerRunner) -> None:
        """Tell the master."""
        runner.send_message(TALLY, {"run": self.options.run_id, **self.tally.to_message()})

    def warn(self, total: Tally) -> None:
        """Say once for each kind of answer what the first one said."""
        for code, detail in total.details.items():
            if code not in self._warned:
                self._warned.add(code)
                say(f"\nwarning: {code}: {detail}")


run: Run | None = None
key_address = ""
"""The one api that gets the key: that of the command, and for a worker of a page elsewhere that of its first run."""


@events.init.add_listener
def prepare(environment: Environment, runner: Runner, web_ui: Any = None, **_: Any) -> None:
    """The exit code is 0 only after a run that went well."""
    logging.getLogger("locust.stats_logger").setLevel(logging.CRITICAL)
    environment.process_exit_code = NOT_ALL_WELL
    # Ctrl-C would break into whichever user is at work, with a traceback: it is taken as SIGTERM instead.
    gevent.signal_handler(signal.SIGINT, os.kill, os.getpid(), signal.SIGTERM)
    if isinstance(runner, MasterRunner):
        runner.register_message(TALLY, hear)
    options = environment.parsed_options
    if options is not None and options.metrics_port and not isinstance(runner, WorkerRunner):
        metrics.serve(
            options.metrics_host,
            options.metrics_port,
            lambda: run.total() if run else Tally(),
            lambda: runner.user_count,
        )
    global key_address
    if not isinstance(runner, WorkerRunner):
        key_address = address(environment)
    if web_ui is not None and options is not None:
        protect(web_ui.app, options.web_host)
    if isinstance(runner, WorkerRunner) and options is not None and options.processes:
        gevent.spawn(end_with_master, runner, os.getppid())


def protect(app: flask.Flask, web_host: str) -> None:
    """Keep other sites' pages from the routes of the page: some start a run, or stop one, without a question."""

    @app.before_request
    def check() -> None:
        asked = flask.request
        if is_loopback(web_host) and not is_local(asked.host):
            flask.abort(403, "This is answered at localhost or an IP address, not at other names.")
        is_the_page = asked.method == "GET" and asked.path == "/"  # which others may link to
        headers = {name.lower(): value for name, value in asked.headers}
        if not is_the_page and is_from_elsewhere(headers, asked.host):
            flask.abort(403, "This is answered to Locust's own page, not to those of other sites.")


def end_with_master(runner: Runner, master: int) -> None:
    """A worker process whose master is gone does not go on alone."""
    while os.getppid() == master:
        gevent.sleep(REPORT_SECONDS)
    runner.quit()


def hear(msg: Any, **_: Any) -> None:
    """A worker's tally, which may be of a run before."""
    if run and msg.data["run"] == run.options.run_id:
        run.others[msg.node_id] = Tally.of(msg.data)


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    global run, key_address
    runner, options = environment.runner, environment.parsed_options
    if runner is None or options is None:
        raise RuntimeError("a run has a runner and options")
    environment.process_exit_code = NOT_ALL_WELL
    if not isinstance(runner, WorkerRunner):
        set_out(environment, runner, options)
    elif options.bank_names and not key_address:
        key_address = address(environment)
    prepare_users(options)
    run = Run(environment, runner, options)
    gevent.spawn(watch, run)


def set_out(environment: Environment, runner: Runner, options: Any) -> None:
    """Settle what all processes need to know: workers get these options. Without banks there is no run."""
    options.run_id = options.run_name or uuid.uuid4().hex[:12]
    options.workers = present(runner) if isinstance(runner, MasterRunner) else []
    options.bank_names = []
    if isinstance(runner, MasterRunner) and runner.target_user_count < len(options.workers):
        say(f"The run cannot start: {len(options.workers)} processes need as many workers, or some would idle.")
        return
    try:
        check_options(options)
        check_host(environment)
        banks = banks_of(environment, options)
        plan_of(options, banks)
        agree_terms(environment, options, banks)
    except requests.RequestException as error:
        say(f"Nobody answers at {address(environment)}: {reason(error)}")
    except ValueError as error:
        say(f"The run cannot start: {error}")
    except Exception as error:  # whatever it is: Locust would go on without a run, for ever
        say(f"The run cannot start: {address(environment)} does not answer like a Polka: {error!r}")
    else:
        options.bank_names = banks


def banks_of(environment: Environment, options: Any) -> list[str]:
    """The banks to pay between, once the api answers."""
    ends_at = time.monotonic() + options.wait
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
                say(f"Waiting for {address(environment)}: {said}")
        gevent.sleep(WAIT_SECONDS)


def plan_of(options: Any, banks: Sequence[str]) -> Plan:
    """The plan that the options describe.

    Raises:
        ValueError: they describe none.
    """
    currencies = read_currencies(options.currencies)
    return plan(options.seed, banks, options.accounts, options.skew, currencies, options.across)


def agree_terms(environment: Environment, options: Any, banks: Sequence[str]) -> None:
    """Agree a net debit cap and fees in each currency with the last of the banks.

    Raises:
        ValueError: there are not so many banks, or the key may not do this.
        requests.RequestException: the api does not answer, or not well.
    """
    if not 0 <= options.terms <= len(banks):
        raise ValueError(f"--terms: must be 0 to {len(banks)}, the number of banks.")
    currencies = read_currencies(options.currencies)
    terms = {"caps": dict.fromkeys(currencies, options.cap), "fees": dict.fromkeys(currencies, FEE)}
    for bank in banks[len(banks) - options.terms :]:
        ask(environment, "PATCH", f"/banks/{bank}", json=terms)


def check_options(options: Any) -> None:
    """See that they can be.

    Raises:
        ValueError: one of them cannot.
    """
    read_mix(options.mix)
    if not 0 <= options.cap <= AMOUNT_MAX:
        raise ValueError(f"--cap: must be 0 to {AMOUNT_MAX}.")
    if not options.transactions >= 0:
        raise ValueError("--transactions: must be 0 or more.")
    if not 0 <= options.rate <= RATE_MAX:
        raise ValueError(f"--rate: must be 0 to {RATE_MAX} payments a second.")
    if not 1 <= options.bulk <= BULK_MAX:
        raise ValueError(f"--bulk: must be 1 to {BULK_MAX}.")
    for name, least in LEAST.items():
        if not getattr(options, name) >= least:
            raise ValueError(f"--{name}: must be {least} or more.")
    for name in ("client_timeout", "connect_timeout"):
        if not 0 < getattr(options, name) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')}: must be more than 0 seconds.")
    if not 0 <= options.skew <= SKEW_MAX:
        raise ValueError(f"--skew: must be 0 to {SKEW_MAX}.")
    if options.bulk > 1 and options.rate:
        raise ValueError("--bulk: goes without --rate, whose payments are due one by one.")


def check_host(environment: Environment) -> None:
    """Whoever opens the page may name another api there: the key that was given for this one is not sent to it.

    Raises:
        ValueError: there is a key, and another api.
    """
    if os.environ.get("POLKA_KEY") and address(environment) != key_address:
        raise ValueError(f"the key that this spammer was started with is for {key_address} alone.")


def present(runner: MasterRunner) -> list[str]:
    """The ids of the worker processes that are there; one that has ended a run comes back a moment later."""
    clients = runner.clients
    return sorted(client.id for client in (*clients.ready, *clients.spawning, *clients.running))


def tickets(runner: Runner, options: Any) -> Tickets:
    """This process's share of the payments: none for a worker that came after the start."""
    total = options.transactions or math.inf
    if not isinstance(runner, WorkerRunner):
        return Tickets(total, 0, 1, options.rate)
    if runner.client_id not in options.workers:
        return Tickets(0, 0, 1, options.rate)
    return Tickets(total, options.workers.index(runner.client_id), len(options.workers), options.rate)


def prepare_users(options: Any) -> None:
    """Make the users' client as the options say."""
    Payer.network_timeout, Payer.connection_timeout = options.client_timeout, options.connect_timeout
    Payer.default_headers = headers_of(options)
    Payer.client_pool = None
    if options.pool:
        Payer.client_pool = HTTPClientPool(
            concurrency=options.pool,
            network_timeout=options.client_timeout,
            connection_timeout=options.connect_timeout,
        )


def watch(run: Run) -> None:
    """Report while it runs, and end it when all payments have ended."""
    ticks, silent_ticks = 0, 0
    while not run.is_over:
        gevent.sleep(REPORT_SECONDS)
        ticks += 1
        if isinstance(run.runner, WorkerRunner):
            run.report(run.runner)
            continue
        total = run.total()
        run.warn(total)
        silent_ticks = silent_ticks + 1 if lacks_workers(run) else 0
        if run.plan is None:
            run.is_over = True
            end(run)
        elif total.ended >= (run.options.transactions or math.inf):
            conclude(run, total)
        elif silent_ticks * REPORT_SECONDS > WORKER_SILENT_SECONDS:
            say("\nA worker process has died, and its share of the payments is not sent.")
            end(run)
        elif ticks % round(1 / REPORT_SECONDS) == 0:
            show_progress(run, total)


def lacks_workers(run: Run) -> bool:
    return isinstance(run.runner, MasterRunner) and not set(run.options.workers) <= set(present(run.runner))


def conclude(run: Run, total: Tally) -> None:
    run.is_over = True
    wanted = run.options.transactions
    show_progress(run, total)
    say("\n" + summary(total, wanted, run.seconds))
    if total.ended == wanted and total.is_good:
        run.environment.process_exit_code = 0
    end(run)


def end(run: Run) -> None:
    if run.options.headless:
        run.runner.quit()
    else:
        run.runner.stop()


@events.quitting.add_listener
def quitting(environment: Environment, **_: Any) -> None:
    """A run without end goes well by being stopped, and Locust would read the exit code before it stops it."""
    if run is not None and not run.options.transactions and environment.runner is not None:
        environment.runner.stop()


@events.test_stopping.add_listener
def stopping(**_: Any) -> None:
    """Payments that are not due yet are not sent any more."""
    if run is not None:
        run.is_stopping.set()


@events.test_stop.add_listener
def stopped(environment: Environment, **_: Any) -> None:
    if run is None:
        return
    if isinstance(environment.runner, WorkerRunner):
        run.report(environment.runner)
    elif not run.is_over:
        total, wanted = run.total(), run.options.transactions
        run.warn(total)
        say(("\nStopped early.\n" if wanted else "\n") + summary(total, wanted, run.seconds))
        if not wanted and total.is_good:
            environment.process_exit_code = 0
        if run.options.headless:
            gevent.spawn(end, run)  # Locust, which stops a run that has lost all its workers, would stay
    run.is_over = True


def show_progress(run: Run, total: Tally) -> None:
    line = progress(total, run.options.transactions, run.seconds)
    if run.options.progress == "line":
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif run.options.progress == "lines":
        say(line)


class Payer(FastHttpUser):
    """A client that sends one payment after another, and now and then does something about one of its own."""

    host = "http://127.0.0.1:8000"
    concurrency = 1

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.client.base_url = (self.client.base_url or "").rstrip("/")
        self.authorization = authorization(self.client.base_url)
        self.mine: list[str] = []

    @task
    def pay(self) -> None:
        if run is None or run.plan is None or not (tickets := run.tickets.take_many(run.options.bulk)):
            raise StopUser
        number, due_seconds = tickets[0]
        if due_seconds > run.seconds and run.is_stopping.wait(due_seconds - run.seconds):
            raise StopUser
        began = due_seconds if run.options.rate else run.seconds  # late is late, also where the spammer is
        payments = [run.plan.payment(number) for number, _ in tickets]
        request = Request("payment", "POST", "/transaction", payments[0]) if run.options.bulk == 1 else many(payments)
        outcome, attempts = self.send(run, request, f"{run.options.run_id}-{number}")
        seconds = run.seconds - began
        for ticket, _ in tickets:
            for place, operation in enumerate(run.mix.following(run.options.seed, ticket)):
                self.follow(run, operation, f"{run.options.run_id}-{ticket}-{place}")
        for _ in tickets:
            run.tally.count(outcome, seconds, attempts)
            attempts = 1  # a bulk request is sent again as a whole

    def follow(self, run: Run, operation: str, key: str) -> None:
        """Read, amend or delete the payment that this client has had for longest."""
        if not self.mine:
            return
        path = f"/transaction/{self.mine[0]}"
        if operation == "get":
            request = Request("read", "GET", path)
        elif operation == "patch":
            request = Request("amendment", "PATCH", path, {"receiver": {"account": f"AMENDED{key.rpartition('-')[2]}"}})
        else:
            request = Request("deletion", "DELETE", path)
            self.mine.pop(0)
        outcome, attempts = self.send(run, request, key)
        run.tally.count_other(operation, outcome, attempts)

    def send(self, run: Run, request: Request, key: str) -> tuple[str, int]:
        """Send the request until its outcome is certain; the outcome, and the attempts that it took."""
        for attempt in range(run.options.retries + 1):
            if attempt:
                gevent.sleep(min(PAUSE_SECONDS_MIN * 2 ** (attempt - 1), PAUSE_SECONDS_MAX))
            code, detail, is_certain = self.attempt(request, key)
            if code not in GOOD_ENDS:
                run.tally.note(code, detail)
            if is_certain:
                break
        return code, attempt + 1

    def attempt(self, request: Request, key: str) -> tuple[str, str, bool]:
        """Send once: `accepted` or the problem's code, what it says, and whether the request has ended with it."""
        headers = self.authorization | {"Content-Type": "application/json", "Idempotency-Key": key}
        body = None if request.body is None else json.dumps(request.body)
        began = time.monotonic()
        try:
            code, detail, is_certain = self.answer(request, body, headers)
        except Exception as error:
            code, detail, is_certain = BROKEN, repr(error), True
        if run is not None:
            run.tally.count_request(request.operation, code, time.monotonic() - began)
        return code, detail, is_certain

    def answer(self, request: Request, body: str | None, headers: dict[str, str]) -> tuple[str, str, bool]:
        """The same, of a request as it is sent."""
        name = request.path if request.method == "POST" else f"{request.method} /transaction/{{id}}"
        with self.client.request(
            *(request.method, request.path),
            data=body,
            headers=headers,
            name=name,
            catch_response=True,
            allow_redirects=False,  # the key goes to this api alone
        ) as response:
            if response.status_code in (200, 201):
                response.success()
                if request.method == "POST":
                    self.remember(response.text)
                return ACCEPTED, "", True
            if not response.status_code:
                response.failure(NO_ANSWER)
                return NO_ANSWER, repr(response.error), False
            code, detail = problem(response)
            if code in GOOD_ENDS:
                response.success()
            else:
                response.failure(code)
            return code, detail, TOO_MANY_REQUESTS != response.status_code < SERVER_ERROR

    def remember(self, answer: str) -> None:
        """Keep the payments that were made, to do something about later, if anything ever is."""
        if run is None or not run.mix.per_payment:
            return
        made = json.loads(answer)
        transactions = [result["transaction"] for result in made["results"]] if "results" in made else [made]
        self.mine += [transaction["id"] for transaction in transactions]
        del self.mine[:-MINE_MAX]


def problem(response: Any) -> tuple[str, str]:
    """The code and the detail of a problem document; of any other answer its status and how it begins.

    Where items of a request are refused for terms and nothing else, that is the code.
    """
    try:
        document = json.loads(response.text)
        codes = [item["code"] for item in document.get("items", ())]
        if codes and GOOD_ENDS.issuperset(codes):
            return str(codes[0]), str(document["detail"])
        if isinstance(document["code"], str):
            return document["code"], str(document["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return f"status_{response.status_code}", (response.text or "")[:200]


def open_banks(environment: Environment, count: int) -> list[str]:
    """The banks of `polka seed`, so many; those that are missing are opened."""
    there = set(bank_names(environment))
    wanted = [bank_name(number) for number in range(1, count + 1)]
    for name in wanted:
        if name not in there:
            ask(environment, "POST", "/banks", json={"name": name})
    return wanted


def bank_names(environment: Environment) -> list[str]:
    """Of all that are there."""
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = ask(environment, "GET", "/banks", params={"after": after, "limit": PAGE}).json()
        names += [bank["name"] for bank in page["banks"]]
        after = page["next"]
    return names


def ask(environment: Environment, method: str, path: str, **request: Any) -> requests.Response:
    """What the api answers before a run; a conflict is an answer: another spammer has opened the bank meanwhile.

    Raises:
        UnknownKeyError: it does not know the key: it may yet be made.
        ValueError: the key may not do this.
        requests.RequestException: the api does not answer, or not well.
    """
    url = address(environment)
    headers = headers_of(environment.parsed_options) | authorization(url)
    with requests.Session() as session:
        session.trust_env = False  # no key of a .netrc in place of ours, and no proxy that users do not have either
        response = session.request(
            method, url + path, headers=headers, timeout=HELLO_SECONDS, allow_redirects=False, **request
        )
    if response.is_redirect:
        raise ValueError(f"{url} leads elsewhere, to {response.headers['location']}.")
    if response.status_code == UNAUTHORIZED:
        raise UnknownKeyError("the api asks for a key that is valid: give one with --key, or as POLKA_KEY.")
    if response.status_code == FORBIDDEN:
        raise ValueError(f"{method} {path}: {problem(response)[1]}")
    if response.status_code != CONFLICT:
        response.raise_for_status()
    return response


def reason(error: Exception) -> str:
    """What is wrong, out of what requests and urllib3 wrap around it."""
    inner = str(getattr(error.args[0], "reason", error) if error.args else error)
    return inner.partition("): ")[2] or inner


def address(environment: Environment) -> str:
    return (environment.host or Payer.host).rstrip("/")


def headers_of(options: Any) -> dict[str, str]:
    """What goes along with every request, beside the key."""
    split = (line.partition(":") for line in options.header)
    return {name.strip(): value.strip() for name, _, value in split}


def authorization(url: str) -> dict[str, str]:
    """The header with the key, for the one api that gets it. It comes from the environment: options are shown."""
    key = os.environ.get("POLKA_KEY")
    return {"Authorization": f"Bearer {key}"} if key and url == key_address else {}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
