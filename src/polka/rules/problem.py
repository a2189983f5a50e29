"""Problem documents (RFC 9457): the form in which Polka rejects a request. Pure."""

import msgspec

from polka.rules.messages import Overdraft

MEDIA_TYPE = "application/problem+json"


class Kind(msgspec.Struct, frozen=True):
    """A kind of problem: its HTTP status, its stable code, and a title for people."""

    status: int
    code: str
    title: str

    @property
    def type(self) -> str:
        return f"urn:polka:problem:{self.code}"


MALFORMED = Kind(400, "malformed", "The request cannot be read")
TOO_LARGE = Kind(413, "too_large", "The body is too large")
SLOW = Kind(408, "slow", "The request arrived too slowly")
URL_TOO_LONG = Kind(414, "url_too_long", "The URL is too long")
HEADERS_TOO_LARGE = Kind(431, "headers_too_large", "The headers are too large")
OVERLOADED = Kind(503, "overloaded", "Too many requests are waiting")


def document(kind: Kind, detail: str) -> bytes:
    """The document of a problem without other fields."""
    fields = {"type": kind.type, "title": kind.title, "status": kind.status, "code": kind.code, "detail": detail}
    return msgspec.json.encode(fields) + b"\n"


class ItemRefused(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rejected item of a request (from 0), and the reason."""

    index: int
    code: str
    detail: str
    field: str | None = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document for a client, as `application/problem+json`."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None
    items: list[ItemRefused] | None = None
    overdraft: Overdraft | None = None
