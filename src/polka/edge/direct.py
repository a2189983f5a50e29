"""A request that is answered without ASGI: no task, no event, no timer of its own.

The connection hands a complete plain request to a function. A plain request is a POST to `PATH` without a query,
without repeated headers, and with a body of known length that came with the head. No other request is ahead of it in
its connection, and it offers or expects nothing. The function takes the request and answers later, or declines. All
other requests, and all declined requests, go to the app by ASGI, from the same bytes.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from polka.rules.headers import Fields

if TYPE_CHECKING:
    from polka.edge.connections import Connection

PATH = b"/transaction"
NOT_PLAIN = frozenset((b"transfer-encoding", b"content-encoding", b"request-timeout", b"if-match"))
"""Headers that only the app handles."""


class Direct:
    """One plain request. For its connection it stands in for uvicorn's cycle of request and response."""

    __slots__ = (
        "_connection",
        "body",
        "disconnected",
        "fields",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, connection: "Connection", fields: Fields, keep_alive: bool) -> None:
        self._connection = connection
        self.scope = connection.scope
        self.fields = fields
        self.keep_alive = keep_alive
        self.body = b""
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False

    @property
    def message_event(self) -> "Direct":
        """Stands in for an event. No task waits for more of the body."""
        return self

    def set(self) -> None: ...

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send the answer. The headers must include its length. A client that has left gets no answer."""
        self.response_started = self.response_complete = True
        if self.disconnected:
            return
        connection = self._connection
        lines = [STATUS_LINE[status]]
        lines += [b"%b: %b\r\n" % header for header in connection.server_state.default_headers]
        lines += [b"%b: %b\r\n" % header for header in headers]
        lines += [b"\r\n", body] if self.keep_alive else [b"connection: close\r\n\r\n", body]
        connection.write(b"".join(lines))
        if not self.keep_alive:
            connection.close_behind()
        connection.on_response_complete()

    def abort(self) -> None:
        """End the connection without an answer, because the outcome of the request is unknown."""
        self.response_complete = True
        self._connection.abort()


Take = Callable[[Direct], bool]
"""Takes a complete plain request; False if the request goes to the app."""
