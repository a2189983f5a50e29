"""Traces: the way of a request from api to cache, as spans of OpenTelemetry. Off by default.

While traces are off, no part of OpenTelemetry is imported, and each function here only checks a variable.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar.types import ASGIApp
from msgspec import Meta, Struct

from polka.service import settings
from polka.service.failure import Failure
from polka.service.settings import Name

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from polka.service.spans import Spans

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

NOTHING: AbstractContextManager[None] = nullcontext()


class Settings(Struct, frozen=True):
    name: Name = ""
    traces: Annotated[
        bool | None,
        Meta(
            description="Export traces by OTLP. If it is not set they are where `OTEL_EXPORTER_OTLP_ENDPOINT` is. "
            "OpenTelemetry's other `OTEL_…` variables hold, too."
        ),
    ] = None
    traces_ratio: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The share of requests that are traced, of those whose clients have not decided it. "
            "`OTEL_TRACES_SAMPLER` counts before it.",
        ),
    ] = 0.01

    @property
    def are_on(self) -> bool:
        if self.traces is None:
            return any(os.environ.get(name) for name in ENDPOINTS)
        return self.traces


spans: "Spans | None" = None


@contextmanager
def opened(service: str) -> Iterator[None]:
    """Trace the block, if the process' settings say so. The cache traces only requests that an api traces.

    Raises:
        Failure: a setting is invalid, or OpenTelemetry is not installed.
    """
    chosen = settings.read(Settings, os.environ)
    if not chosen.are_on:
        yield
        return
    try:
        from polka.service.spans import Spans
    except ImportError as error:
        raise Failure(f"Traces need Polka's extra `traces` ({error}).") from error
    global spans
    spans = Spans(service, settings.own_name(chosen.name), chosen.traces_ratio if service == "api" else 0.0)
    try:
        yield
    finally:
        spans.close()
        spans = None


def traced(app: ASGIApp, knows: Callable[[Any], bool]) -> ASGIApp:
    """The app, with a span for each of its requests if traces are on.

    `knows` gets a request's scope and returns whether the caller is known. Only known callers decide about their
    traces.
    """
    return spans.of_requests(app, knows) if spans else app


def current() -> "Span | None":
    """The recorded span, if any."""
    return spans.current() if spans else None


def batch(requests: Iterable["Span | None"]) -> AbstractContextManager[None]:
    """A span around the work on a batch of these requests. The batch and its requests link to each other."""
    return spans.batch(requests) if spans else NOTHING


def part(name: str, batch: object) -> AbstractContextManager[None]:
    """A span inside the batch's span, for a part of the work."""
    return spans.part(name, str(batch)) if spans else NOTHING


def call(name: str, callers: Iterable["Span | None"]) -> AbstractContextManager[None]:
    """A span around a call for all of these callers. Its parent is the first caller's span, and it links to the
    others."""
    return spans.call(name, callers) if spans else NOTHING


def headers() -> Mapping[str, str]:
    """Headers that make another service's spans children of the current span (W3C Trace Context)."""
    return spans.headers() if spans else {}


def raw_headers() -> list[tuple[bytes, bytes]]:
    """The same in bytes."""
    return [(name.encode(), value.encode()) for name, value in headers().items()]


def held(batch: UUID, outcome: str) -> None:
    """Note the outcome of a batch in the current span. The span of the flush will link here."""
    if spans:
        spans.held(batch, outcome)


def flushed(number: int, batches: Iterable[UUID], seconds: float) -> None:
    """A span of a flush that has just ended, with links to the known spans of its batches."""
    if spans:
        spans.flushed(number, batches, seconds)
