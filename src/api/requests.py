"""What a request that writes says beside its payments: idempotency key, patience, the version that it speaks of."""

import asyncio
import re
from collections.abc import Awaitable, Collection
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec
from litestar.types import Receive

from api.operations import Key
from api.posting import TIMEOUT
from api.problems import RefusedError, refuse, too_large
from api.refusals import Refusal
from polka import duration
from polka.bounds import BODY_BYTES_MAX, TIMEOUT_SECONDS_MAX
from polka.keys import Caller

T = TypeVar("T")

KEY_LENGTH_MAX = 255
ETAG = re.compile(r'"(\d{1,9})"')


class Head(msgspec.Struct):
    """`if_match` is the version that the payment must be in; `parameters` are those of the query but for `timeout`.

    `deadline`, in the event loop's time, is when the caller stops waiting.
    """

    caller: Caller
    deadline: float
    key: Key | None = None
    if_match: int | None = None
    content_type: str = ""
    parameters: dict[str, str] = {}

    @property
    def seconds_left(self) -> float:
        return self.deadline - now()

    async def in_time(self, work: Awaitable[T]) -> T:
        """The work's result.

        Raises:
            RefusedError: the caller's time is up. The work must be one that records nothing.
        """
        try:
            async with asyncio.timeout_at(self.deadline):
                return await work
        except TimeoutError:
            raise RefusedError(TIMEOUT) from None


def now() -> float:
    return asyncio.get_running_loop().time()


def read_head(scope: Any, timeout_seconds: float, parameters: Collection[str] = ()) -> Head:
    """From the request's ASGI scope: its caller, its headers and its query, which may have these parameters, each once.

    Raises:
        RefusedError: one of them is not as it must be, or unknown.
    """
    head = Head(scope["caller"], now() + timeout_seconds)
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            if head.key:
                refuse(Refusal.INVALID, "Idempotency-Key: is given more than once.", "Idempotency-Key")
            head.key = (head.caller.name, read_key(value))
        elif name == b"content-type":
            head.content_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"request-timeout":
            head.deadline = now() + read_timeout(value.decode("latin-1"), "Request-Timeout")
        elif name == b"if-match":
            head.if_match = read_version(value.decode("latin-1"))
    if scope["query_string"]:
        read_query(head, scope["query_string"], parameters)
    return head


def read_query(head: Head, query: bytes, parameters: Collection[str]) -> None:
    for parameter, values in parse_qs(query.decode("latin-1"), keep_blank_values=True).items():
        if len(values) > 1:
            refuse(Refusal.INVALID, f"{parameter}: is given more than once.", parameter)
        if parameter == "timeout":
            head.deadline = now() + read_timeout(values[0], "timeout")
        elif parameter in parameters:
            head.parameters = head.parameters | {parameter: values[0]}
        else:
            refuse(Refusal.INVALID, f"{parameter}: is not a parameter here.", parameter)


def read_key(value: bytes) -> str:
    key = value.decode("latin-1")
    if not 0 < len(key) <= KEY_LENGTH_MAX or not (key.isascii() and key.isprintable()):
        refuse(
            Refusal.INVALID,
            f"Idempotency-Key: must be 1 to {KEY_LENGTH_MAX} printable ASCII characters.",
            "Idempotency-Key",
        )
    return key


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
    """The version in an entity tag; None for `*`, which any version matches."""
    if text.strip() == "*":
        return None
    if not (found := ETAG.fullmatch(text.strip())):
        refuse(Refusal.INVALID, 'If-Match: must be one version as "2" (the ETag of the payment), or *.', "If-Match")
    return int(found[1])


async def read_body(receive: Receive, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body, which is mostly one message.

    Raises:
        RefusedError: it is larger than that, or the client left.
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
            return body
