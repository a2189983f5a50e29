"""The paying client: payment after payment, each sent until its outcome is certain."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gevent
import msgspec
from locust import User, task
from locust.env import Environment
from locust.exception import CatchResponseError, StopUser

from spammer import run as runs
from spammer.key import HOST, address, authorization
from spammer.options import headers_of
from spammer.outcome import Answer, problem
from spammer.run import Run
from spammer.tally import ACCEPTED, GOOD_ENDS
from spammer.wire import FAILURES, Wire

MINE_MAX = 100
NO_ANSWER = "no_answer"
BROKEN = "exception"
"""A failure of the spammer itself. The request has ended, because the run would otherwise wait for ever."""
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 2.0


@dataclass(frozen=True)
class Request:
    """A request, and its name in metrics."""

    operation: str
    method: str
    path: str
    body: Any = None


def many(payments: Sequence[Any]) -> Request:
    return Request("bulk", "POST", "/transactions", payments)


class Payer(User):
    """A client that sends payment after payment, and sometimes reads, amends or deletes an own payment."""

    host = HOST
    shared: Wire | None = None
    """The shared connections of all clients. None if each client has its own."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.wire = self.shared or wire(self.host, 1, environment.parsed_options)
        self.mine: list[str] = []

    def on_stop(self) -> None:
        if self.wire is not self.shared:
            self.wire.close()

    @task
    def pay(self) -> None:
        run = runs.current
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
        """Send the request until its outcome is certain. Returns the outcome, and the number of attempts."""
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
        """Send once. Returns `accepted` or the problem's code, the detail, and whether the request has ended."""
        body = b"" if request.body is None else msgspec.json.encode(request.body)
        began, started = time.monotonic(), time.time()
        length = 0
        try:
            answer = self.wire.exchange(request.method, request.path, key, body)
            length = len(answer.text)
            code, detail, is_certain = self.judge(request, answer)
        except FAILURES as error:
            code, detail, is_certain = NO_ANSWER, repr(error), False
        except Exception as error:
            code, detail, is_certain = BROKEN, repr(error), True
        seconds = time.monotonic() - began
        self.environment.events.request.fire(
            request_type=request.method,
            name=request.path if request.method == "POST" else f"{request.method} /transaction/{{id}}",
            response_time=seconds * 1000,
            response_length=length,
            exception=None if code in GOOD_ENDS else CatchResponseError(code),
            context={},
            response=None,
            start_time=started,
            url=request.path,
        )
        if runs.current is not None:
            runs.current.tally.count_request(request.operation, code, seconds)
        return code, detail, is_certain

    def judge(self, request: Request, answer: Answer) -> tuple[str, str, bool]:
        """The same, of an answer."""
        if answer.status in (200, 201):
            if request.method == "POST":
                self.remember(answer.text)
            return ACCEPTED, "", True
        code, detail = problem(answer)
        return code, detail, TOO_MANY_REQUESTS != answer.status < SERVER_ERROR

    def remember(self, answer: str) -> None:
        """Keep the made payments for later operations, if the mix has any."""
        if runs.current is None or not runs.current.mix.per_payment:
            return
        made = json.loads(answer)
        transactions = [result["transaction"] for result in made["results"]] if "results" in made else [made]
        self.mine += [transaction["id"] for transaction in transactions]
        del self.mine[:-MINE_MAX]


def prepare_users(host: str | None, options: Any) -> None:
    """Make the shared connections of the users, if there is a pool. A run without banks does not start."""
    has_shared = options.bank_names and options.pool
    Payer.shared = wire(host, options.pool, options) if has_shared else None


def wire(host: str | None, size: int, options: Any) -> Wire:
    url = address(host)
    return Wire(url, size, headers_of(options) | authorization(url), options)
