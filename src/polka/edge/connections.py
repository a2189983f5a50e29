"""One client's connection, with limits of time and bytes before the app sees a request.

All bytes go to the parser unchanged. Deadlines cost a request nothing, because a sweep checks all connections once a
second. The class is large because it is one state: the parser, uvicorn, the sweep and the app all call it. Its waits,
its outgoing bytes and the parts of uvicorn that it replaces have modules of their own.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from polka.edge import bounds
from polka.edge.bounds import Reason
from polka.edge.direct import NOT_PLAIN, PATH, Direct, Take
from polka.edge.drain import Drain
from polka.edge.gate import Gate
from polka.edge.outgoing import Outgoing
from polka.edge.parsers import Behind, has_path, new_parser
from polka.edge.patience import UNREAD_SECONDS, Awaited, Patience, Wait
from polka.edge.replaced import Flow
from polka.edge.unfit import (
    UnfitError,
    answer,
    headers_too_large,
    malformed,
    not_chunked,
    too_large,
    too_slow_a_head,
    url_too_long,
)
from polka.rules import problem

log = logging.getLogger(__name__)

CONNECTION_REQUESTS_MAX = 500
CONNECTION_SECONDS_MAX = 20.0
"""Short enough that slow clients also find a new process within half a minute."""
FRAMING = (b"content-length", b"transfer-encoding", b"connection")
SLICE_BYTES = 4096
"""Bytes for one call of the parser. Few requests of a pipeline are parsed before reading pauses."""


class Connection(HttpToolsProtocol):
    """A connection that ends after some hundred requests or some seconds, and sends each answer at once.

    Clients then connect again, so that load spreads to new processes. A client that does not read is cut off.
    """

    flow: Flow
    is_new = False

    def __init__(self, drain: Drain, gate: Gate, take: Take | None = None, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self.parser = new_parser(self)
        self._drain = drain
        self._gate = gate
        self._take = take
        self._direct: Direct | None = None  # the current plain request
        self._host: str | None = None
        self._began_at = 0.0
        self._patience = Patience(gate.bounds, drain)
        self._in_head: Any = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._body_bytes_left = 0
        self._framing_bytes_left = 0
        self._behind = b""  # bytes for the parser once the pipeline is shorter
        self._last_words = b""  # sent behind all answers; then the connection ends
        self._is_over = False
        self._offers_upgrade = False
        self._unread: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        awaited = self._awaits()
        return awaited is not None and awaited[0] is Wait.REQUEST and self._patience.has_begun(awaited)

    @property
    def held_bytes(self) -> int:
        """The bytes of its requests, and of the answers that its client has not read.

        An incomplete body counts in full, because the app keeps the parts that it has read.
        """
        cycle = self.cycle
        bodies = sum(len(waiting.body) for waiting, _ in self.pipeline)
        if cycle is not None and not self.pipeline:
            is_incomplete = cycle.more_body and not cycle.response_complete
            bodies = self._body_bytes if is_incomplete else len(cycle.body)
        unread = self._outgoing.waiting_bytes + self.transport.get_write_buffer_size()
        return bodies + self._head_bytes + len(self._behind) + unread

    @property
    def is_slow(self) -> bool:
        return self._patience.has_begun(self._awaits())

    def take_place(self, transport: asyncio.Transport, host: str | None, since: float, data: bytes) -> None:
        """Take over from a newcomer. The newcomer entered the gate from this host at this time, and received this
        data."""
        self._host = host
        self.connection_made(transport)
        self._patience.since = since
        self.data_received(data)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._outgoing = Outgoing(transport, self.loop)
        share = random.uniform(0.5, 1)  # noqa: S311  # so that connections opened together do not end together
        self._requests_left = 0 if self._drain.has_begun else int(CONNECTION_REQUESTS_MAX * share)
        self._closes_at = self.loop.time() + CONNECTION_SECONDS_MAX * share

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_over = True
        self._patience.restart()
        self._behind = b""
        if self._unread is not None:
            self._unread.cancel()
        self._gate.leave(self._host)

    def data_received(self, data: bytes) -> None:
        if self._behind:
            self._behind += data
        elif not self._is_over:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        try:
            for place in range(0, len(data), SLICE_BYTES):
                if len(self.pipeline) >= bounds.PIPELINE_MAX:
                    self._behind = data[place:]
                    self.flow.is_full = True
                    self.flow.pause_reading()
                    return
                part = data if len(data) <= SLICE_BYTES else data[place : place + SLICE_BYTES]
                self._feed(part)
                if self._direct is not None:
                    self._give_to_app(self._direct)
                self._count_unfinished(len(part))
        except UnfitError as unfit:
            self._refuse(unfit)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            # The parser stops after a head with an offered upgrade. Another parser continues with the same body.
            self._offers_upgrade = False
            if rest := data[stopped.args[0] :]:
                self._feed(rest)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, UnfitError) or cause is None or has_path(self.url):
                raise (
                    cause or error
                ) from None  # an error of this code ends the connection, with a traceback in the log
            raise malformed("the URL has no path") from None
        except httptools.HttpParserError as error:
            raise malformed(str(error)) from None

    def _count_unfinished(self, size: int) -> None:
        """Limit an incomplete head or body. Its first slice does not count."""
        cycle = self.cycle
        if self.scope is not None and (cycle is None or self.scope is not cycle.scope):
            if self._in_head is not self.scope:
                self._in_head, self._head_bytes = self.scope, 0
                return
            self._head_bytes += size
            if self._head_bytes > bounds.HEAD_BYTES_MAX:
                raise url_too_long() if not self.headers else headers_too_large()
        elif cycle is not None and cycle.more_body:
            self._framing_bytes_left -= size
            if self._framing_bytes_left < 0 or self._body_bytes_left < 0:
                raise too_large(self.scope["path"])

    def on_headers_complete(self) -> None:
        headers = self.headers
        fields = dict(headers)
        if len(headers) > bounds.HEADERS_MAX:
            raise headers_too_large()
        if len(fields) == len(headers):
            self.scope["fields"] = fields  # type: ignore[typeddict-unknown-key]
        else:
            names = [name for name, _ in headers]
            if names.count(b"host") > 1:
                raise UnfitError(Reason.HOST, problem.MALFORMED, "Host: must be given once.")
            if names.count(b"transfer-encoding") > 1:
                raise not_chunked()
        if b"host" not in fields and self.parser.get_http_version() != "1.0":
            raise UnfitError(Reason.HOST, problem.MALFORMED, "Host: must be given once.")
        if len(self.url) > bounds.URL_BYTES_MAX:
            raise url_too_long()
        if self._in_head is self.scope and size_of(headers) > bounds.HEAD_BYTES_MAX:  # in several slices
            raise headers_too_large()
        length = int(fields.get(b"content-length", b"0"))
        if b"transfer-encoding" in fields:
            length = self._check_chunked(fields[b"transfer-encoding"])
        elif length > bounds.BODY_BYTES_MAX:
            self._check_length(length)
        is_offer = self.parser.should_upgrade()
        if self.expect_100_continue and self.parser.get_http_version() != "1.1":
            self.expect_100_continue = False  # an older client does not know the interim answer (RFC 9110, 10.1.1)
        if is_offer and self.parser.get_method() == b"CONNECT":
            raise UnfitError(Reason.MALFORMED, problem.MALFORMED, "CONNECT: Polka is no proxy.")
        self._body_bytes = 0
        self._body_bytes_left = length
        self._framing_bytes_left = bounds.FRAMING_BYTES_MAX
        self._requests_left -= 1
        self._began_at = self.loop.time()
        if self._take is not None and length and not is_offer and self._is_plain(fields):
            self._direct = Direct(self, fields, self._keeps_alive())
            self.cycle = self._direct  # type: ignore[assignment]
            return
        self._begin_in_app()
        if self.pipeline:
            self.flow.is_full = True
        if is_offer:
            self._ignore_upgrade()

    def _is_plain(self, fields: dict[bytes, bytes]) -> bool:
        return (
            self.url == PATH
            and self.parser.get_method() == b"POST"
            and len(fields) == len(self.headers)
            and fields.keys().isdisjoint(NOT_PLAIN)
            and not self.expect_100_continue
            and not self._behind
            and (self.cycle is None or self.cycle.response_complete)
        )

    def _keeps_alive(self) -> bool:
        """Whether another request may follow the current one."""
        has_time = self._requests_left > 0 and self._began_at <= self._closes_at
        return has_time and self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()

    def _begin_in_app(self) -> None:
        super().on_headers_complete()
        self.headers = []  # trailers are no headers of the request
        self.cycle.transport = self._outgoing  # type: ignore[assignment]
        if self._requests_left <= 0 or self._began_at > self._closes_at:
            self.cycle.keep_alive = False

    def _hand_over(self, request: Direct) -> None:
        try:
            is_taken = self._take is not None and self._take(request)
        except Exception:  # the request may have been taken, and the app could pay a second time
            log.exception("a request failed")
            request.abort()
        else:
            if not is_taken:
                self._give_to_app(request)

    def _give_to_app(self, request: Direct) -> None:
        """Hand the request to the app, like any other request."""
        self._direct = None
        self.cycle = None  # type: ignore[assignment]
        self._begin_in_app()
        self.cycle.keep_alive = request.keep_alive
        self.cycle.body += request.body
        self.cycle.more_body = request.more_body
        self.cycle.message_event.set()

    def write(self, data: bytes) -> None:
        self._outgoing.write(data)

    def close_behind(self) -> None:
        """Close after all written bytes are sent."""
        self._outgoing.close()

    def _check_chunked(self, coding: bytes) -> int:
        """The largest size of the body in bytes."""
        if coding.strip().lower() != b"chunked" or self.parser.get_http_version() == "1.0":
            raise not_chunked()
        return bounds.body_bytes_max(self._path())

    def _check_length(self, length: int) -> None:
        if length > bounds.body_bytes_max(self._path()):
            raise too_large(self._path())

    def _path(self) -> str:
        """The path of a request whose head was read."""
        return self.url.partition(b"?")[0].decode("ascii", "replace")

    def _ignore_upgrade(self) -> None:
        """Replace the parser by another parser that ignores the offered upgrade (RFC 9110, 7.8).

        The old parser would treat all following bytes as the other protocol, and would lose the body.
        """
        first, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%b / HTTP/%b" % (first, version)]
        lines += [b"%b: %b" % (name, value) for name, value in self.scope["headers"] if name in FRAMING]
        self._offers_upgrade = True
        behind = Behind(self)
        self.parser = new_parser(behind)
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        behind.is_head_known = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._body_bytes_left -= len(body)
        self._framing_bytes_left += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._offers_upgrade:
            self.complete_message()

    def complete_message(self) -> None:
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if (request := self._direct) is not None:
            self._direct = None
            self._hand_over(request)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._outgoing.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words:
            self._say_last_words()
            return
        if self._behind:
            behind, self._behind = self._behind, b""
            self._parse(behind)
        if not self.pipeline and not self._behind and not self._is_over:
            self.flow.is_full = False
            self.flow.resume_reading()

    def abort(self) -> None:
        self.transport.abort()

    def cut_if_late(self, now: float, stalled_seconds: float) -> None:
        """End the connection if its client is late. Time in which this process stalled does not count."""
        awaited = self._awaits()
        if self._patience.is_over(awaited, now, stalled_seconds, self._began_at, self.scope) and awaited:
            self._cut(awaited[0])

    def _awaits(self) -> Awaited | None:
        """The client's next step, and the request before it; None while the client waits for the process."""
        cycle = self.cycle
        if self._outgoing.is_closing():
            return Wait.CLOSED, None
        if self._is_over:
            return (Wait.END, None) if not self.flow.is_full else None
        if self.flow.read_paused:
            return None
        if self.scope is None or cycle is None or self.scope is not cycle.scope:
            return Wait.HEAD, cycle
        if cycle.more_body:
            return Wait.REST if cycle.response_complete else Wait.BODY, cycle
        return (Wait.REQUEST, cycle) if cycle.response_complete else None

    def _cut(self, wait: Wait) -> None:
        match wait:
            case Wait.HEAD if self.scope is None:
                self._gate.refused(Reason.HEAD_TIMEOUT)
                self.transport.close()
            case Wait.HEAD:
                self._refuse(too_slow_a_head())
            case Wait.BODY | Wait.REST:
                self._refuse(UnfitError(Reason.BODY_TIMEOUT, problem.SLOW, "The body did not arrive in time."))
            case Wait.REQUEST:
                self._outgoing.close()
            case Wait.END:
                self.transport.abort()
            case Wait.CLOSED:
                self._cut_unread()

    def _refuse(self, unfit: UnfitError) -> None:
        """Answer the current request with a problem, after the answers to earlier requests. Then close."""
        self._gate.refused(unfit.reason)
        self._is_over = True
        self._behind = b""
        self._last_words = answer(unfit, self.server_state.default_headers, self.scope)
        self.flow.is_full = True
        self.flow.pause_reading()
        cycle = self.cycle
        if cycle is not None and self.scope is cycle.scope and cycle.more_body:
            if self.pipeline:  # the app has not begun with this request
                self.pipeline.popleft()
                return
            if cycle.response_started:  # the app has begun to answer
                self._outgoing.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        elif cycle is not None and not cycle.response_complete:
            return
        self._say_last_words()

    def _say_last_words(self) -> None:
        """Close only for writing. A client that is still sending could lose the answer otherwise (RFC 9112, 9.6)."""
        if self.transport.is_closing():
            return
        self._outgoing.write(self._last_words)
        self._outgoing.flush()
        if not self.transport.can_write_eof() or self._outgoing.waiting_bytes:
            self._outgoing.close()
            return
        self.transport.write_eof()
        self.flow.is_full = False
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._outgoing.is_paused = True
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._cut_unread)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
        self._outgoing.is_paused = False
        self._outgoing.flush()
        if not self._outgoing.is_paused:
            super().resume_writing()

    def _cut_unread(self) -> None:
        self._gate.refused(Reason.UNREAD)
        self.transport.abort()

    def end_with_next_answer(self) -> None:
        """Close after the current answer. If the client has no part of an answer yet, close after the next answer.

        A silent client gets less time from now on: the time that busy clients need for their next request.
        """
        self._requests_left = 0
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False
        self._patience.restart()  # with a shorter limit

    def shutdown(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._outgoing.close()
        else:
            self.cycle.keep_alive = False


def size_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The bytes of these headers, with colons, blanks and line breaks."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
