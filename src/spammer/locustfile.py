"""The spammer itself, a plain locustfile: exactly N payments, from any number of users and processes.

Each process counts its own tally and sends it to the master; whoever sees that all N have ended stops the run.
"""

import json
import logging
import os
import sys
import time
import uuid
from typing import Any

import gevent
import requests
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, Runner, WorkerRunner

from spammer.plan import Plan, Tickets, plan
from spammer.tally import ACCEPTED, Tally, progress, summary

TALLY = "polka_tally"
REPORT_SECONDS = 0.25
HELLO_SECONDS = 5.0
PAGE = 500
NO_ANSWER = "no_answer"
TRY_AGAIN = {NO_ANSWER, "outcome_unknown", "timeout", "database_away", "overloaded", "rate_limited"}
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 2.0
NOT_ALL_WELL = 1


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    add = parser.add_argument
    add("--transactions", type=int, default=20_000, help="Payments, in all.")
    add("--seed", type=int, default=1, help="The same seed draws the same payments.")
    add("--skew", type=float, default=0.0, help="Zipf's exponent: with 1 some banks and accounts are hot.")
    add("--accounts", type=int, default=1_000, help="Accounts at each bank.")
    add("--rate", type=float, default=0.0, help="Payments a second (open loop); 0: each user when it can.")
    add("--retries", type=int, default=20, help="Attempts beyond the first, with the same key.")
    add("--client-timeout", type=float, default=15.0, help="Seconds to wait for an answer.")
    add("--connect-timeout", type=float, default=5.0, help="Seconds to wait for a connection.")
    add("--pool", type=int, default=0, help="Connections that the users share; 0: one each.")
    add("--header", action="append", default=[], help="`Name: value` to send along; may be repeated.")
    add("--progress", choices=["line", "lines", "none"], default="line", help="One line rewritten, or many.")
    add("--run-name", default="", help="Part of each idempotency key; a repeated name repeats its run.")
    add("--workers-ready", type=int, default=1, include_in_web_ui=False, help="Set by the master itself.")


class Run:
    """One run, as one process knows it."""

    def __init__(self, environment: Environment, runner: Runner, options: Any) -> None:
        self.environment = environment
        self.runner = runner
        self.options = options
        self.began = time.monotonic()
        self.tally = Tally()
        self.others: dict[str, Tally] = {}
        self.is_over = False
        self.plan: Plan | None = None
        worker = runner.worker_index if isinstance(runner, WorkerRunner) else 0
        self.tickets = Tickets(options.transactions, worker, options.workers_ready, options.rate)
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

    def warn(self, code: str, text: str) -> None:
        """Say it once for each kind of answer."""
        if code not in self._warned:
            self._warned.add(code)
            say(f"\nwarning: {code}: {text}")


run: Run


@events.init.add_listener
def prepare(environment: Environment, runner: Runner, **_: Any) -> None:
    """See that somebody is there before anything starts; the exit code is 0 only after a run that went well."""
    logging.getLogger("locust.stats_logger").setLevel(logging.CRITICAL)
    environment.process_exit_code = NOT_ALL_WELL
    if isinstance(runner, MasterRunner):
        runner.register_message(TALLY, lambda msg, **_: run.others.update({msg.node_id: Tally.of(msg.data)}))
    options = environment.parsed_options
    if options is not None and options.headless and not isinstance(runner, WorkerRunner):
        try:
            get(environment, "/hello")
        except requests.RequestException as error:
            sys.exit(f"Nobody answers at {address(environment)}: {error}")


@events.test_start.add_listener
def begin(environment: Environment, runner: Runner | None = None, **_: Any) -> None:
    global run
    runner, options = environment.runner, environment.parsed_options
    if runner is None or options is None:
        raise RuntimeError("a run has a runner and options")
    if isinstance(runner, MasterRunner):
        options.workers_ready = len(runner.clients.ready)
    if not isinstance(runner, WorkerRunner):
        options.run_name = options.run_name or uuid.uuid4().hex[:12]
    run = Run(environment, runner, options)
    if isinstance(runner, MasterRunner) or prepare_users(run):
        gevent.spawn(watch, run)


def prepare_users(run: Run) -> bool:
    """Make the plan and the users' client as the options say; whether that went well."""
    options = run.options
    Payer.network_timeout, Payer.connection_timeout = options.client_timeout, options.connect_timeout
    Payer.default_headers = headers(options)
    if options.pool:
        Payer.client_pool = HTTPClientPool(
            concurrency=options.pool,
            network_timeout=options.client_timeout,
            connection_timeout=options.connect_timeout,
        )
    try:
        run.plan = plan(options.seed, bank_names(run.environment), options.accounts, options.skew)
    except (requests.RequestException, ValueError) as error:
        say(f"The run cannot start: {error}")
        gevent.spawn(end, run)
        return False
    return True


def watch(run: Run) -> None:
    """Report while it runs, and end it when all payments have ended."""
    ticks = 0
    while not run.is_over:
        gevent.sleep(REPORT_SECONDS)
        ticks += 1
        if isinstance(run.runner, WorkerRunner):
            run.runner.send_message(TALLY, run.tally.to_message())
            continue
        total = run.total()
        if total.ended >= run.options.transactions:
            conclude(run, total)
        elif ticks % round(1 / REPORT_SECONDS) == 0:
            show_progress(run, total)


def conclude(run: Run, total: Tally) -> None:
    run.is_over = True
    wanted = run.options.transactions
    show_progress(run, total)
    say("\n" + summary(total, wanted, run.seconds))
    if total.outcomes[ACCEPTED] == wanted:
        run.environment.process_exit_code = 0
    end(run)


def end(run: Run) -> None:
    if run.options.headless:
        run.runner.quit()
    else:
        run.runner.stop()


@events.test_stop.add_listener
def stopped(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.send_message(TALLY, run.tally.to_message())
    elif not run.is_over:
        say("\nStopped early.\n" + summary(run.total(), run.options.transactions, run.seconds))
    run.is_over = True


def show_progress(run: Run, total: Tally) -> None:
    line = progress(total, run.options.transactions, run.seconds)
    if run.options.progress == "line":
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    elif run.options.progress == "lines":
        say(line)


class Payer(FastHttpUser):
    """A client that sends one payment after another."""

    host = "http://127.0.0.1:8000"
    concurrency = 1

    @task
    def pay(self) -> None:
        ticket = run.tickets.take()
        if ticket is None or run.plan is None:
            raise StopUser
        number, due_seconds = ticket
        gevent.sleep(max(0.0, due_seconds - run.seconds))
        began = due_seconds if run.options.rate else run.seconds  # late is late, also where the spammer is
        outcome, attempts = self.send(json.dumps(run.plan.payment(number)), f"{run.options.run_name}-{number}")
        run.tally.count(outcome, run.seconds - began, attempts)

    def send(self, body: str, key: str) -> tuple[str, int]:
        """Send the payment until its outcome is certain; the outcome, and the attempts that it took."""
        for attempt in range(run.options.retries + 1):
            code, detail = self.attempt(body, key)
            if code == ACCEPTED:
                return code, attempt + 1
            run.warn(code, detail)
            if code not in TRY_AGAIN:
                return code, attempt + 1
            gevent.sleep(min(PAUSE_SECONDS_MIN * 2**attempt, PAUSE_SECONDS_MAX))
        return code, attempt + 1

    def attempt(self, body: str, key: str) -> tuple[str, str]:
        """One request: `accepted`, or the problem's code, and what it says."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        with self.client.post("/transaction", data=body, headers=headers, catch_response=True) as response:
            if response.status_code == 201:
                response.success()
                return ACCEPTED, ""
            if not response.status_code:
                response.failure(NO_ANSWER)
                return NO_ANSWER, repr(response.error)
            code, detail = problem(response)
            response.failure(code)
            return code, detail


def problem(response: Any) -> tuple[str, str]:
    try:
        document = json.loads(response.text)
        return document["code"], document["detail"]
    except (ValueError, KeyError, TypeError):
        return f"status_{response.status_code}", (response.text or "")[:200]


def bank_names(environment: Environment) -> list[str]:
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        page = get(environment, "/banks", {"after": after, "limit": PAGE}).json()
        names += [bank["name"] for bank in page["banks"]]
        after = page["next"]
    return names


def get(environment: Environment, path: str, params: dict[str, Any] | None = None) -> requests.Response:
    sent = headers(environment.parsed_options)
    response = requests.get(address(environment) + path, params=params, headers=sent, timeout=HELLO_SECONDS)
    if response.status_code == 401:
        raise ValueError("the api asks for a key that is valid: give one with --key, or as POLKA_KEY.")
    response.raise_for_status()
    return response


def address(environment: Environment) -> str:
    return (environment.host or Payer.host).rstrip("/")


def headers(options: Any) -> dict[str, str]:
    """What goes along with every request. The key comes from the environment: options are shown and sent around."""
    key = os.environ.get("POLKA_KEY")
    own = {"Authorization": f"Bearer {key}"} if key else {}
    return own | dict(split_header(line) for line in options.header)


def split_header(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
