"""The synchronous client."""

import functools
import random
import ssl
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

import httpx

from polka.client import calls, connection
from polka.client.calls import Call, Listing
from polka.client.exchange import Attempt, Outcome, exchange, has_reached

P = ParamSpec("P")
T = TypeVar("T")


class Method(Generic[P, T]):
    """Makes a method of a call: with the same arguments, it sends the request and returns the result."""

    def __init__(self, call: Callable[P, Call[T]]) -> None:
        self._call = call
        self._signature = connection.returning(call)

    def __get__(self, client: "Client", owner: type["Client"]) -> Callable[P, T]:
        @functools.wraps(self._call)
        def method(*positional: P.args, **named: P.kwargs) -> T:
            return client._send(self._call(*positional, **named))

        method.__dict__["__signature__"] = self._signature
        return method


class Pages(Generic[P, T]):
    """Makes a method of a list: with the same arguments, it iterates over all pages."""

    def __init__(self, listing: Callable[P, Listing[T]]) -> None:
        self._listing = listing
        self._signature = connection.returning(listing, Iterator)

    def __get__(self, client: "Client", owner: type["Client"]) -> Callable[P, Iterator[T]]:
        @functools.wraps(self._listing)
        def method(*positional: P.args, **named: P.kwargs) -> Iterator[T]:
            return client._iterate(self._listing(*positional, **named))

        method.__dict__["__signature__"] = self._signature
        return method


class Client:
    """A client of a Polka, for all threads of a program. Close the client with `with`, or `close()`.

    An attempt waits `timeout_seconds` for each step of the exchange. A call begins no attempt later than
    `deadline_seconds` after its start. `connections_max` bounds the open connections. `verify` is a file with the
    authority of an https address, or a whole context; the authorities of the system count without it.

    Every method raises a `ClientError` if there is no result.

    Raises:
        ValueError: an argument is invalid.
    """

    def __init__(
        self,
        url: str = connection.URL,
        key: str | None = None,
        *,
        timeout_seconds: float = connection.TIMEOUT_SECONDS,
        deadline_seconds: float = connection.DEADLINE_SECONDS,
        attempts_max: int | None = None,
        connections_max: int = connection.CONNECTIONS_MAX,
        verify: str | ssl.SSLContext | None = None,
    ) -> None:
        self._connection = connection.connection(
            url, key, timeout_seconds, deadline_seconds, attempts_max, connections_max, verify
        )
        self._http = httpx.Client(**self._connection.settings)
        self._was_reached = False

    pay = Method(calls.pay)
    pay_many = Method(calls.pay_many)
    payment = Method(calls.payment)
    latest_payment = Method(calls.latest_payment)
    outcome = Method(calls.outcome)
    history = Method(calls.history)
    amend = Method(calls.amend)
    delete = Method(calls.delete)
    payments = Pages(calls.payments)

    banks = Pages(calls.banks)
    bank = Method(calls.bank)
    open_bank = Method(calls.open_bank)
    change_terms = Method(calls.change_terms)
    accounts = Pages(calls.accounts)

    windows = Pages(calls.windows)
    window = Method(calls.window)
    close_window = Method(calls.close_window)
    settle_window = Method(calls.settle_window)
    liquidity = Method(calls.liquidity)
    liquidity_history = Pages(calls.liquidity_history)

    currencies = Method(calls.currencies)
    rates = Method(calls.rates)
    convert = Method(calls.convert)

    api_keys = Pages(calls.api_keys)
    create_key = Method(calls.create_key)
    revoke_key = Method(calls.revoke_key)
    audits = Method(calls.audits)
    drills = Method(calls.drills)
    start_drill = Method(calls.start_drill)
    hello = Method(calls.hello)

    def _send(self, call: Call[T]) -> T:
        """The result of a call, after as many attempts as it needs."""
        link = self._connection
        attempts = exchange(call, link.url, link.patience, self._was_reached, time.monotonic, random.random)
        attempt = next(attempts)
        while True:
            time.sleep(attempt.wait_seconds)
            try:
                attempt = attempts.send(self._attempt(call, attempt))
            except StopIteration as end:
                result: T = end.value
                return result

    def _iterate(self, listing: Listing[T]) -> Iterator[T]:
        """All items of a list. The next page is read when its first item is wanted."""
        cursor = None
        while True:
            items, cursor = self._send(listing.page(cursor))
            yield from items
            if cursor is None:
                return

    def _attempt(self, call: Call[Any], attempt: Attempt) -> Outcome:
        try:
            response = self._http.request(**self._connection.request(call, attempt))
        except connection.FAILURES as error:
            outcome: Outcome = connection.silence(error)
        else:
            outcome = connection.answer(response)
        self._was_reached = self._was_reached or has_reached(outcome)
        return outcome

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.__exit__(kind, error, traceback)
