"""A service's second port, for its operators: metrics, liveness and readiness.

Clients cannot reach this port. Its answers need no key, and rendering metrics takes time from payments. A browser on
the same machine can reach the port, so pages of other sites get no metrics.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.di import NamedDependency, Provide
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

from polka.edge.methods import Methods
from polka.rules import same_site
from polka.service.logs import log_failed_request

log = logging.getLogger(__name__)

PATHS = ["/metrics", "/health/live", "/health/ready"]
ELSEWHERE = "Metrics and health have a port of their own: POLKA_METRICS_PORT, or else the port after this one."
"""The answer to a request for one of the paths on the clients' port."""
PAGE_SECONDS = 1.0

Obstacle = Callable[[], str | None]
"""The reason why a service cannot serve now; None if the service can."""

# The start times would double the number of series, and nobody uses them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Page:
    """The page of metrics, shared by all readers. It is rendered at most once a second."""

    def __init__(self) -> None:
        self._content = b""
        self._outdated_at = -math.inf

    def content(self) -> bytes:
        if time.monotonic() >= self._outdated_at:
            self._content = generate_latest()
            self._outdated_at = time.monotonic() + PAGE_SECONDS
        return self._content


@get("/metrics", sync_to_thread=False)
def metrics(request: Request[Any, Any, Any], page: NamedDependency[Page]) -> Response[Any]:
    if came_over_loopback(request) and (told := same_site.refusal(request.scope["headers"])):
        return Response({"detail": told}, status_code=403)
    return Response(page.content(), media_type=CONTENT_TYPE_LATEST)


def came_over_loopback(request: Request[Any, Any, Any]) -> bool:
    """Whether a browser on this machine may have sent the request. A Prometheus elsewhere may use any name."""
    server = request.scope["server"]
    return server is not None and same_site.is_loopback(server[0])


@get("/health/live", sync_to_thread=False)
def live() -> dict[str, str]:
    """The process answers. The database does not matter here."""
    return {"status": "live"}


@get("/health/ready", sync_to_thread=False)
def ready(obstacle: NamedDependency[Obstacle]) -> Response[dict[str, str]]:
    """The process can serve, as far as it knows. The request itself triggers no check."""
    if reason := obstacle():
        return Response({"status": reason}, status_code=503)
    return Response({"status": "ready"})


def app(obstacle: Obstacle) -> Methods:
    """The app of the second port."""
    page = Page()
    litestar = Litestar(
        route_handlers=[metrics, live, ready],
        dependencies={
            "page": Provide(lambda: page, sync_to_thread=False),
            "obstacle": Provide(lambda: obstacle, sync_to_thread=False),
        },
        exception_handlers={500: on_failure},
        logging_config=None,
        openapi_config=None,
    )
    return Methods(litestar)


def on_failure(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    log_failed_request(log, error)
    return Response({"detail": "The request failed; the log says why."}, status_code=500)
