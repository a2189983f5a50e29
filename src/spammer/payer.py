"""The client that pays: one payment after another, each sent until its outcome is certain."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gevent
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, task
from locust.env import Environment
from locust.exception import StopUser

from spammer import run as runs
from spammer.key import HOST, authorization
from spammer.options import headers_of
from spammer.outcome import problem
from spammer.run import Run
from spammer.tally import ACCEPTED, GOOD_ENDS
from spammer.trust import verified

MINE_MAX = 100
NO_ANSWER = "no_answer"
BROKEN = "exception"
"""The spammer itself failed at a request. The request has ended with that, or the run would wait for it for ever."""
TOO_MANY_REQUESTS, SERVER_ERROR = 429, 500
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 2.0


@dataclass(frozen=True)
class Request:
    """What one request asks for, and what that is called in metrics."""

    operation: str
    method: str
    path: str
    body: Any = None


def many(payments: Sequence[Any]) -> Request:
    return Request("bulk", "POST", "/transactions", payments)


class Payer(FastHttpUser):
    """A client that sends one payment after another, and now and then does something about one of its own."""

    host = HOST
    concurrency = 1
    insecure = False
    ssl_context_factory = staticmethod(verified)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.client.base_url = (self.client.base_url or "").rstrip("/")
        self.authorization = authorization(self.client.base_url)
        self.mine: list[str] = []

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
        if runs.current is not None:
            runs.current.tally.count_request(request.operation, code, time.monotonic() - began)
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
        if runs.current is None or not runs.current.mix.per_payment:
            return
        made = json.loads(answer)
        transactions = [result["transaction"] for result in made["results"]] if "results" in made else [made]
        self.mine += [transaction["id"] for transaction in transactions]
        del self.mine[:-MINE_MAX]


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
            ssl_context_factory=verified,
        )
