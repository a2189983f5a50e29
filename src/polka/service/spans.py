"""Spans, if traces are on. Only this file imports OpenTelemetry."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from litestar.types import ASGIApp, Message, Receive, Send
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
    use_span,
)

from polka import __version__
from polka.service.logs import request_id

CLOSE_SECONDS = 2.0
HELD_MAX = 10_000
NANO = 1_000_000_000
ROOT = Context()


class SampleLinked(Sampler):
    """Records spans with links to recorded spans, for example a batch with its requests. The other sampler decides the
    rest."""

    def __init__(self, otherwise: Sampler) -> None:
        self._otherwise = otherwise

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Sequence[Link] | None = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        if links and any(link.context.trace_flags.sampled for link in links):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, trace_state)
        return self._otherwise.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"SampleLinked({self._otherwise.get_description()})"


class Spans:
    """Makes spans, and sends them to the collector from its own thread."""

    def __init__(self, service: str, name: str, ratio: float) -> None:
        os.environ.setdefault("OTEL_SERVICE_NAME", f"polka-{service}")
        os.environ.setdefault("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        os.environ.setdefault("OTEL_TRACES_SAMPLER_ARG", str(ratio))
        resource = Resource.create({"service.version": __version__, "service.instance.id": name})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.sampler = SampleLinked(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("polka", __version__)
        self._held: OrderedDict[UUID, SpanContext] = OrderedDict()

    def close(self) -> None:
        """Send the remaining spans within a moment. An unreachable collector is retried."""
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(CLOSE_SECONDS)

    def current(self) -> Span | None:
        span = get_current_span()
        return span if span.is_recording() else None

    def of_requests(self, app: ASGIApp, knows: Callable[[Any], bool]) -> ASGIApp:
        async def traced(scope: Any, receive: Receive, send: Send) -> None:
            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    note_answer(span, scope, message["status"])
                await send(message)

            attributes = {"http.request.method": scope["method"], "polka.request": request_id.get("")}
            parent = parent_of(scope) if knows(scope) else ROOT
            span = self._tracer.start_span(scope["method"], parent, SpanKind.SERVER, attributes)
            with running(span):
                await app(scope, receive, send_and_note)

        return traced

    @contextmanager
    def batch(self, requests: Iterable[Span | None]) -> Iterator[None]:
        asked = [span for span in requests if span]
        if not asked:
            yield
            return
        links = [Link(span.get_span_context()) for span in asked]
        batch = self._tracer.start_span("batch", ROOT, links=links)
        for span in asked:
            if span.is_recording():  # its caller may have left
                span.add_link(batch.get_span_context())
        with running(batch):
            yield

    @contextmanager
    def part(self, name: str, batch: str) -> Iterator[None]:
        if self.current() is None:
            yield
            return
        with running(self._tracer.start_span(name, attributes={"polka.batch": batch})):
            yield

    @contextmanager
    def call(self, name: str, callers: Iterable[Span | None]) -> Iterator[None]:
        traced = [span for span in callers if span]
        if not traced:
            with use_span(INVALID_SPAN):  # ignores the task's own context
                yield
            return
        first, *others = traced
        links = [Link(span.get_span_context()) for span in others]
        with running(self._tracer.start_span(name, set_span_in_context(first), SpanKind.CLIENT, links=links)):
            yield

    def headers(self) -> dict[str, str]:
        head: dict[str, str] = {}
        if self.current():
            propagate.inject(head)
        return head

    def held(self, batch: UUID, outcome: str) -> None:
        if span := self.current():
            span.add_event("batch", {"polka.batch": str(batch), "polka.outcome": outcome})
            self._held[batch] = span.get_span_context()
            if len(self._held) > HELD_MAX:
                self._held.popitem(last=False)

    def flushed(self, number: int, batches: Iterable[UUID], seconds: float) -> None:
        links = [Link(self._held.pop(batch), {"polka.batch": str(batch)}) for batch in batches if batch in self._held]
        if links:
            began = time.time_ns() - int(seconds * NANO)
            self._tracer.start_span(
                "flush", ROOT, links=links, start_time=began, attributes={"polka.flush": number}
            ).end()


def parent_of(scope: Any) -> Context:
    """The context in a request's head (W3C Trace Context)."""
    return propagate.extract({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})


@contextmanager
def running(span: Span) -> Iterator[None]:
    """Make the span the current span until the block ends. Only the type of an error is recorded, because its text may
    contain values."""
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise


def note_answer(span: Span, scope: Any, status: int) -> None:
    route = scope.get("path_template")
    if route:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
