"""Metrics of HTTP requests, and the `/metrics` page: a lean middleware over prometheus-client."""

import time
from typing import Any

from litestar import Response, get
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, disable_created_metrics, generate_latest

# When each series began is twice as many series, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("polka_http_requests", "Requests, by method, route and status.", ["method", "route", "status"])
SECONDS = Histogram(
    "polka_http_request_seconds",
    "Time from a request's head to the start of its answer.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class CountRequests:
    """Counts and times each request under its route's template: paths are not labels."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._children: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()

        async def send_and_count(message: Message) -> None:
            if message["type"] == "http.response.start":
                requests, seconds = self._metrics(scope, message["status"])
                requests.inc()
                seconds.observe(time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, send_and_count)

    def _metrics(self, scope: Any, status: int) -> tuple[Any, Any]:
        labels = (scope.get("method", ""), scope.get("path_template") or "none", status)
        if labels not in self._children:
            method, route, _ = labels
            self._children[labels] = (REQUESTS.labels(method, route, status), SECONDS.labels(method, route))
        return self._children[labels]


@get("/metrics", include_in_schema=False, sync_to_thread=False)
def metrics() -> Response[bytes]:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
