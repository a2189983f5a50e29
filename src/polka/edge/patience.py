"""How long a connection waits for each step of its client."""

from enum import Enum
from typing import Any
from urllib.parse import parse_qs

from polka.edge import bounds
from polka.edge.bounds import Bounds
from polka.edge.drain import Drain
from polka.rules import duration

KEEP_ALIVE_SECONDS = 75
"""The time that a connection may be silent. Most load balancers reuse a connection for at most a minute."""
DRAINING_SECONDS = 5
"""The same for a draining process."""
LINGER_SECONDS = 2
"""The time for a client to read the last answer of its connection. Bytes that it sends meanwhile are dropped."""
UNREAD_SECONDS = 30
"""The time that a client may leave an answer unread. Then the connection is cut off."""


class Wait(Enum):
    """The event that a connection waits for."""

    HEAD = "head"
    BODY = "body"
    REST = "rest"
    """The rest of a body, after the answer to its request."""
    REQUEST = "request"
    END = "end"
    CLOSED = "closed"
    """The client has been sent everything, and has not read all bytes yet."""


Awaited = tuple[Wait, Any]
"""The client's next step, and the request before it."""


class Patience:
    """Measures the wait for one step of the client, which begins with the first look at this step."""

    def __init__(self, limits: Bounds, drain: Drain) -> None:
        self.since = 0.0
        self._awaited: Awaited | None = (Wait.HEAD, None)
        self._drain = drain
        self._limits = limits
        self._seconds = limits.head_timeout_seconds

    def has_begun(self, awaited: Awaited | None) -> bool:
        """Whether an earlier look was at this same step."""
        return awaited is not None and awaited == self._awaited

    def restart(self) -> None:
        """Begin again with the next look."""
        self._awaited = None

    def is_over(
        self, awaited: Awaited | None, now: float, stalled_seconds: float, request_began_at: float, scope: Any
    ) -> bool:
        """Whether the client is late. Time in which this process stalled does not count. A body is awaited since its
        request began."""
        self.since += stalled_seconds
        if awaited != self._awaited:
            self._awaited = awaited
            if awaited:
                self.since = request_began_at + stalled_seconds if awaited[0] is Wait.BODY else now
                self._seconds = self._limit(awaited[0], scope)
        return awaited is not None and now - self.since >= self._seconds

    def _limit(self, wait: Wait, scope: Any) -> float:
        match wait:
            case Wait.HEAD:
                return self._limits.head_timeout_seconds
            case Wait.BODY:
                return own_timeout(scope) or self._limits.body_timeout_seconds
            case Wait.REST:
                return self._limits.body_timeout_seconds
            case Wait.REQUEST:
                return DRAINING_SECONDS if self._drain.has_begun else KEEP_ALIVE_SECONDS
            case Wait.END:
                return LINGER_SECONDS
            case Wait.CLOSED:
                return UNREAD_SECONDS


def own_timeout(scope: Any) -> float | None:
    """The request's own timeout, from `?timeout=250ms` or `Request-Timeout`."""
    texts = parse_qs(scope["query_string"].decode("latin-1")).get("timeout", [])
    texts += [value.decode("latin-1") for name, value in scope["headers"] if name == b"request-timeout"]
    seconds = duration.seconds(texts[0]) if texts else None
    return min(seconds, bounds.TIMEOUT_SECONDS_MAX) if seconds else None
