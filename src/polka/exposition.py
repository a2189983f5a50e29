"""Metrics of HTTP requests, and the `/metrics` page: a lean middleware of our own."""

import time
from collections.abc import Awaitable
from typing import Any

from litestar import Response, get
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

from polka.counting import Count, Counts, Histograms, Times

# When each series began is twice as many series, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counts("polka_http_requests", "Requests, by method, route and status.", ["method", "route", "status"])
SECONDS = Histograms(
    "polka_http_request_seconds", "Time from a request's head to the start of its answer.", ["method", "route"]
)


class CountRequests:
    """Counts and times each request under its route's template: paths are not labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._children: dict[tuple[str, str, int], tuple[Count, Times]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()

        def send_and_count(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                requests, seconds = self._metrics(scope, message["status"])
                requests.inc()
                seconds.observe(time.perf_counter() - began)
            return send(message)

        await self._app(scope, receive, send_and_count)

    def _metrics(self, scope: Any, status: int) -> tuple[Count, Times]:
        labels = scope.get("method", ""), scope.get("path_template") or "none", status
        if found := self._children.get(labels):
            return found
        method, route, _ = labels
        self._children[labels] = REQUESTS.labels(method, route, str(status)), SECONDS.labels(method, route)
        return self._children[labels]


@get("/metrics", include_in_schema=False, sync_to_thread=False)
def metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
