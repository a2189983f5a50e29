"""Header fields of a request, by name. A single-valued field must not be repeated. Pure."""

from collections.abc import Collection, Iterable, Mapping

SINGLE = frozenset(
    (
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"idempotency-key",
        b"if-match",
        b"origin",
        b"request-timeout",
        b"sec-fetch-site",
        b"traceparent",
        b"x-request-id",
    )
)
"""All fields that Polka reads, except the lists `Accept` and `Cookie`."""

Fields = Mapping[bytes, bytes]
KEY_LENGTH_MAX = 255
"""Of an idempotency key."""


class RepeatedError(Exception):
    """A single-valued field is repeated."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: is given more than once.")
        self.name = name


def fields_of(headers: Collection[tuple[bytes, bytes]]) -> Fields:
    """The fields by name, in lower case. If a list is repeated, the last line counts.

    Raises:
        RepeatedError: a single-valued field is repeated.
    """
    fields = dict(headers)
    if len(fields) != len(headers):
        check_repeated(headers)
    return fields


def check_repeated(headers: Iterable[tuple[bytes, bytes]]) -> None:
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name in SINGLE:
            raise RepeatedError(name.decode().title())
        seen.add(name)


def is_idempotency_key(value: bytes) -> bool:
    """Whether the value is a valid key: printable ASCII characters."""
    return 0 < len(value) <= KEY_LENGTH_MAX and value.isascii() and value.decode("ascii").isprintable()
