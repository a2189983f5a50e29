"""The limits of a client before its request is understood: time, bytes, and connections."""

import resource
from enum import Enum
from typing import Annotated

from msgspec import Meta, Struct

from polka.service.counting import Count as Number
from polka.service.counting import Counts
from polka.service.settings import Count, Seconds

HEAD_BYTES_MAX = 64 * 1024
URL_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
FRAMING_BYTES_MAX = 64 * 1024
"""Bytes that the sizes and extensions of chunks, and trailers, may add to a body."""
PIPELINE_MAX = 16
"""Requests of a connection that wait for the answer to an earlier request. Above this number reading pauses."""
HELD_BYTES_MAX = 64 * 1024 * 1024
"""Memory that all clients together may occupy in a process: parts of requests, and unread answers."""
BODY_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX_BY_PATH = {
    "/transactions": 1024 * 1024,  # of the api
    **dict.fromkeys(("/balance", "/balance/reservation"), 10_000_000),  # of the cache: batches of a whole api
}
TIMEOUT_SECONDS_MAX = 300.0
"""The longest timeout of a request, as `?timeout=5m`."""
DESCRIPTORS_KEPT = 384
"""The reserve for files, connections to Postgres, probes, and leaving clients."""


class Bounds(Struct, frozen=True):
    head_timeout_seconds: Annotated[
        Seconds,
        Meta(
            description="How long the first line and the headers of a request may take to arrive. "
            "A TLS handshake may take as long."
        ),
    ] = 20.0
    """Silent clients connect again when they are cut off, which costs more than their waiting does."""
    body_timeout_seconds: Annotated[
        Seconds,
        Meta(description="How long a body may take to arrive, unless the request names a timeout of its own."),
    ] = 10.0
    connections_max: Annotated[
        Count, Meta(description="Connections of clients to one process. Fewer if the system allows fewer open files.")
    ] = 10_000
    connections_per_address_max: Annotated[
        int,
        Meta(
            ge=0,
            le=10**9,
            description="Connections from one address to one process. All clients of a load balancer may share its "
            "address. No bound if 0.",
        ),
    ] = 5_000


class Reason(Enum):
    """The reason for rejecting a request before the app, or for closing a connection."""

    HANDSHAKE = "handshake"
    """A TLS handshake failed or took too long."""
    HEAD_TIMEOUT = "head_timeout"
    BODY_TIMEOUT = "body_timeout"
    UNREAD = "unread"
    """The client did not read its answer."""
    HEADERS_TOO_LARGE = "headers_too_large"
    URL_TOO_LONG = "url_too_long"
    BODY_TOO_LARGE = "body_too_large"
    HOST = "host"
    """The Host header is missing or repeated."""
    MALFORMED = "malformed"
    MEMORY = "memory"
    """All clients together occupied too much memory. The clients with the most memory were cut off."""
    CONNECTIONS = "connections"
    """All connections of the process were in use."""
    ADDRESS = "address"
    """All connections of the client's address were in use."""
    EVICTED = "evicted"
    """A connection that waited for its client made room for a new connection."""


REFUSED = Counts("polka_connections_refused", "Rejected or ended connections and requests, by reason.", ["reason"])
REFUSED_BY_REASON: dict[Reason, Number] = {reason: REFUSED.labels(reason.value) for reason in Reason}


def body_bytes_max(path: str) -> int:
    return BODY_BYTES_MAX_BY_PATH.get(path, BODY_BYTES_MAX)


def raise_descriptors_limit() -> int:
    """Raise the limit of open files to the hard limit. Returns the number of connections that fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(hard - DESCRIPTORS_KEPT, hard // 2) if hard != resource.RLIM_INFINITY else 10**9
