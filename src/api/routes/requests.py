"""Reading a request: its deadline, its idempotency key, its version in `If-Match`, and its body."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from litestar import Request
from litestar.params import PathParameter
from litestar.types import Receive

from api.http import problems
from api.http.keyring import Keyring
from api.http.problems import RefusedError, refuse, too_large
from api.http.refusals import KEYS_UNREADABLE, TIMEOUT, UNKNOWN_KEY, Refusal, Refused
from api.posting.operations import Key
from polka.edge.bounds import BODY_BYTES_MAX, TIMEOUT_SECONDS_MAX
from polka.rules import duration
from polka.rules.headers import KEY_LENGTH_MAX, Fields, is_idempotency_key
from polka.rules.keys import Caller

T = TypeVar("T")

PaymentId = Annotated[str, PathParameter(description="The `id` of the payment.", format="uuid")]

OWN_HEAD = {"reads_its_head": True}
"""The option of a route that calls `read_head` itself. Such a route knows its parameters, and keeps its deadline."""
ETAG = re.compile(r'"(\d{1,9})"')


class Head(msgspec.Struct):
    """`if_match` is the required version of the payment. `parameters` are the query's parameters without `timeout`.

    `deadline`, in the event loop's time, is the end of the caller's wait. `keyring` is None if no keys are required.
    """

    caller: Caller
    keyring: Keyring | None
    deadline: float
    key: Key | None = None
    if_match: int | None = None
    content_type: str = ""
    parameters: dict[str, str] = {}

    @property
    def seconds_left(self) -> float:
        return self.deadline - now()

    async def in_time(self, work: Awaitable[T]) -> T:
        """The work's result. The work must not record anything.

        Raises:
            RefusedError: the caller's time is up.
        """
        try:
            async with asyncio.timeout_at(self.deadline):
                return await work
        except TimeoutError:
            raise RefusedError(TIMEOUT) from None


def now() -> float:
    return asyncio.get_running_loop().time()


def read_head(scope: Any, timeout_seconds: float, parameters: Collection[str] = ()) -> Head:
    """The caller, the headers and the query of the request's ASGI scope. The query may have these parameters, each
    once.

    Raises:
        RefusedError: a header or parameter is invalid, or a parameter is unknown.
    """
    fields = scope["fields"]
    check_encoding(fields)
    head = Head(scope["caller"], scope["keyring"], read_deadline(scope, timeout_seconds))
    if (key := fields.get(b"idempotency-key")) is not None:
        head.key = (head.caller.name, read_key(key))
    if (content_type := fields.get(b"content-type")) is not None:
        head.content_type = content_type.decode("latin-1").partition(";")[0].strip().lower()
    if (version := fields.get(b"if-match")) is not None:
        head.if_match = read_version(version.decode("latin-1"))
    if scope["query_string"]:
        read_query(head, scope["query_string"], parameters)
    return head


def read_deadline(scope: Any, timeout_seconds: float) -> float:
    """The end of the caller's wait: `timeout_seconds` after the request's head, unless the request has its own timeout.

    `timeout` in the query takes precedence over the header `Request-Timeout`.

    Raises:
        RefusedError: the timeout is invalid.
    """
    if (header := scope["fields"].get(b"request-timeout")) is not None:
        timeout_seconds = read_timeout(header.decode("latin-1"), "Request-Timeout")
    if scope["query_string"] and (values := query_of(scope["query_string"]).get("timeout")):
        timeout_seconds = read_timeout(values[0], "timeout")
    deadline: float = scope["arrived"] + timeout_seconds
    return deadline


def check_encoding(fields: Fields) -> None:
    """Check that the body is not compressed.

    Raises:
        RefusedError: the body is compressed.
    """
    encoding = fields.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in (b"", b"identity"):
        raise RefusedError(
            Refused(
                Refusal.UNSUPPORTED_ENCODING,
                "Content-Encoding: must be identity, because Polka reads no compressed bodies.",
                "Content-Encoding",
                headers=(("accept-encoding", "identity"),),
            )
        )


def query_of(query: bytes) -> dict[str, list[str]]:
    return parse_qs(query.decode("latin-1"), keep_blank_values=True)


def read_query(head: Head, query: bytes, parameters: Collection[str]) -> None:
    for parameter, values in query_of(query).items():
        if parameter != "timeout" and parameter not in parameters:
            refuse(Refusal.INVALID, f"{parameter}: is not a parameter here.", parameter)
        if len(values) > 1:
            refuse(Refusal.INVALID, f"{parameter}: is given more than once.", parameter)
        if parameter != "timeout":
            head.parameters = head.parameters | {parameter: values[0]}


def read_key(value: bytes) -> str:
    if not is_idempotency_key(value):
        refuse(
            Refusal.INVALID,
            f"Idempotency-Key: must be 1 to {KEY_LENGTH_MAX} printable ASCII characters.",
            "Idempotency-Key",
        )
    return value.decode("ascii")


def read_timeout(text: str, field: str) -> float:
    seconds = duration.seconds(text)
    if seconds is None or not 0 < seconds <= TIMEOUT_SECONDS_MAX:
        refuse(
            Refusal.INVALID,
            f"{field}: must be a duration as 250ms or 1m30s, above 0 and at most {TIMEOUT_SECONDS_MAX:.0f}s.",
            field,
        )
    return seconds


def read_version(text: str) -> int | None:
    """The version in an entity tag; None for `*`, which matches any version."""
    if text.strip() == "*":
        return None
    if not (found := ETAG.fullmatch(text.strip())):
        refuse(Refusal.INVALID, 'If-Match: must be one version as "2" (the ETag of the payment), or *.', "If-Match")
    return int(found[1])


async def read_json(request: Request[Any, Any, Any], decode: Callable[[bytes], T]) -> T:
    """The decoded body of a request with a deadline (see `deadlines`).

    Raises:
        RefusedError: the body is unreadable or invalid.
    """
    scope: Any = request.scope
    head = Head(scope["caller"], scope["keyring"], scope["deadline"])
    return problems.read(decode, await read_body(head, request.receive))


async def read_body(head: Head, receive: Receive, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body, usually a single message.

    Raises:
        RefusedError: the body is larger than `bytes_max`, the client left, the deadline has passed, or the caller's key
            was revoked or could not be read.
    """
    body: bytes = b""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            refuse(Refusal.MALFORMED, "The connection ended before the body did.")
        body = body + message["body"] if body else message["body"]
        if len(body) > bytes_max:
            raise RefusedError(too_large(bytes_max))
        if not message["more_body"]:
            break
    if now() >= head.deadline:
        raise RefusedError(TIMEOUT)
    if head.keyring is not None:
        await check_again(head, head.keyring)
    return body


async def check_again(head: Head, keyring: Keyring) -> None:
    """Check that the caller's key is still in force. Minutes may have passed since the head.

    Raises:
        RefusedError: the key is no longer in force, or the table of keys cannot be read.
    """
    if keyring.is_outdated and not await head.in_time(keyring.look()):
        raise RefusedError(KEYS_UNREADABLE)
    if keyring.with_id(head.caller.id) is None:
        raise RefusedError(UNKNOWN_KEY)
