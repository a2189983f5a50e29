"""A request that is answered without ASGI: no task, no event, no timer of its own.

The connection hands a whole plain request to a function as soon as it is read. A request is plain if it is a POST to
`PATH` without a query, no header of it is repeated, its body has a length and came with its head, nothing is ahead of
it in its connection, and it offers or expects nothing. The function takes it and answers later, or leaves it. All
that is not plain and all that is left goes to the app by ASGI, from the same bytes.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from polka.rules.headers import Fields

if TYPE_CHECKING:
    from polka.edge.connections import Connection

PATH = b"/transaction"
NOT_PLAIN = frozenset((b"transfer-encoding", b"content-encoding", b"request-timeout", b"if-match"))
"""Headers that the app knows what to do with."""


class Direct:
    """One such request. Its connection takes it for uvicorn's cycle of request and response."""

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
        """Nobody waits for more of the body."""
        return self

    def set(self) -> None: ...

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send the answer, whose headers say its length. A client that has left gets none."""
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
        """End the connection without an answer: what has become of the request is not known."""
        self.response_complete = True
        self._connection.abort()


Take = Callable[[Direct], bool]
"""Takes a whole plain request; False if it goes to the app."""
