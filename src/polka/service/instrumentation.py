"""The first middleware of each request. The request gets an id for its answer and its lines in the log, and is counted
and timed."""

import itertools
import re
import secrets
import time
from collections.abc import Awaitable
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send

from polka.service.counting import Count, Counts, Histograms, Times
from polka.service.logs import request_id

REQUESTS = Counts("polka_http_requests", "Requests, by method, route and status.", ["method", "route", "status"])
SECONDS = Histograms(
    "polka_http_request_seconds", "Time from a request's head to the start of its answer.", ["method", "route"]
)

HEADER = b"x-request-id"
SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Instrumented:
    """The app, with an id for each request. Requests are counted under their route's template, because paths are no
    labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.ids = Ids()
        self._children: dict[tuple[str, str | None, int], tuple[Count, Times]] = {}

    def __call__(self, scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
        began = time.perf_counter()
        own = self.ids.of(scope)
        request_id.set(own.decode())

        def send_instrumented(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (HEADER, own)]
                self.count(scope["method"], scope.get("path_template"), message["status"], began)
            return send(message)

        return self._app(scope, receive, send_instrumented)

    def count(self, method: str, template: str | None, status: int, began: float) -> None:
        """Count an answer that starts now. `began` is from `time.perf_counter`."""
        if (found := self._children.get((method, template, status))) is None:
            labels = method, template or "none"
            found = self._children[method, template, status] = (
                REQUESTS.labels(*labels, str(status)),
                SECONDS.labels(*labels),
            )
        requests, seconds = found
        requests.inc()
        seconds.observe(time.perf_counter() - began)


class Ids:
    """Ids of requests: the client's own id if valid, otherwise a new one.

    A new id has a random prefix of this process and a count. A random number for each request would take as long as all
    the rest.
    """

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    def of(self, scope: Any) -> bytes:
        fields = scope.get("fields")  # missing if a header is repeated
        if fields is None:
            given = next((value for name, value in scope["headers"] if name == HEADER and SANE.fullmatch(value)), None)
        else:
            given = fields.get(HEADER)
        return self.of_header(given)

    def of_header(self, given: bytes | None) -> bytes:
        """The id from the header X-Request-ID, or a new id."""
        if given is not None and SANE.fullmatch(given):
            return bytes(given)
        return b"%b-%x" % (self._prefix, next(self._numbers))
