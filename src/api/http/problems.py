"""From an error to the client's problem document: one way for every route."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.types import ExceptionHandlersMap, Send

from api.http.refusals import (
    CONNECTION_BROKE,
    FAILED,
    RETRY_AFTER_SECONDS,
    TOO_MANY_READERS,
    UNREAD,
    Refusal,
    Refused,
    problem,
)
from polka.edge.bounds import BODY_BYTES_MAX
from polka.rules.keys import Caller
from polka.rules.money import AMOUNT_MAX
from polka.rules.problem import MEDIA_TYPE
from polka.service.logs import log_failed_request
from polka.store import database, positions

log = logging.getLogger(__name__)

T = TypeVar("T")

AMOUNT = f"must be a whole number of minor units, from 1 to {AMOUNT_MAX}: 12.50 USD is 1250"
FORMS = {
    "account": "must be 1 to 34 letters and digits",
    "bank": "must be 1 to 64 letters, digits, spaces, dots, hyphens or underscores",
    "name": "must be 1 to 64 letters, digits, spaces, dots, hyphens or underscores, and begin with a letter or digit",
    "reference": "must be 1 to 140 characters without control characters",
    **dict.fromkeys(("currency", "from", "to"), "must be an ISO 4217 code of three letters"),
    "suspended": "must be no, sending or both",
    "format": "must be json or csv",
    "status": "must be accepted or deleted",
    "target": "must be cache, api or postgres",
}


class RefusedError(Exception):
    """Carries a refusal from a handler to the edge."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.detail)
        self.refused = refused


def refuse(refusal: Refusal, detail: str, field: str | None = None) -> NoReturn:
    raise RefusedError(Refused(refusal, detail, field))


def too_large(bytes_max: int) -> Refused:
    return Refused(Refusal.TOO_LARGE, f"The body of this request has at most {bytes_max} bytes.")


UNREADABLE = (ValueError, RecursionError)
"""Exceptions from decoding a body."""


def read(decode: Callable[[bytes], T], body: bytes, form: str = "JSON") -> T:
    """The decoded body.

    Raises:
        RefusedError: the body is unreadable or invalid.
    """
    try:
        return decode(body)
    except UNREADABLE as error:
        raise RefusedError(explain(error, form)) from None


def explain(error: Exception, form: str = "JSON") -> Refused:
    """The reason for a failed decoding: the field, and its fault."""
    if isinstance(error, RecursionError):
        return Refused(Refusal.MALFORMED, "The body is nested too deeply.")
    if not isinstance(error, msgspec.ValidationError):
        return Refused(Refusal.MALFORMED, f"The body is not valid {form}: {error}.")
    fact, _, place = str(error).partition(" - at `$")
    return Refused(Refusal.INVALID, *explain_fact(fact, place.rstrip("`").lstrip(".")))


def explain_fact(fact: str, place: str) -> tuple[str, str | None]:
    """The detail and the field, from msgspec's words and path."""
    if named := re.search(r"(unknown|[Mm]issing required) (?:field|query parameter) [`'](.*?)[`']", fact):
        field = f"{place}.{named[2]}".lstrip(".")
        return f"{field}: {'is not a field here' if named[1] == 'unknown' else 'is missing'}.", field
    name = place.rpartition(".")[2]
    form = FORMS.get(name)
    if name == "amount" and "`int`" in fact:
        fact = AMOUNT
    if form and ("regex" in fact or "length" in fact or "enum" in fact):
        fact = form
    return f"{place or 'body'}: {fact[0].lower()}{fact[1:]}.", place or None


def encode(refused: Refused, caller: Caller | None = None) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body for ASGI. The body shows only figures that this caller may see."""
    document = problem(refused, caller)
    body = positions.encode(document) + b"\n"
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if (seconds := RETRY_AFTER_SECONDS.get(refused.refusal)) is not None:
        headers.append((b"retry-after", str(seconds).encode()))
    headers += [(name.encode(), value.encode()) for name, value in refused.headers]
    return document.status, headers, body


async def send_answer(answer: tuple[int, list[tuple[bytes, bytes]], bytes], send: Send) -> None:
    """Send a status, headers and a body."""
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def answer(refused: Refused, headers: Mapping[str, str] | None = None, caller: Caller | None = None) -> Response[bytes]:
    status, own, body = encode(refused, caller)
    fields = {name.decode(): value.decode() for name, value in own if name != b"content-type"}
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers={**fields, **(headers or {})})


def on_refused(request: Request[Any, Any, Any], error: RefusedError) -> Response[bytes]:
    scope: Any = request.scope
    return answer(error.refused, caller=scope.get("caller"))


def on_validation(_: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    """Litestar's own checks: of parameters (Python's `from_` is the client's `from`), and of bodies that Litestar
    decodes."""
    first = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    detail, field = explain_fact(
        str(first.get("message", error.detail)), str(first.get("key", "")).removeprefix("data").lstrip(".").rstrip("_")
    )
    return answer(Refused(Refusal.INVALID, detail, field))


def on_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    match error.status_code:
        case 404:
            return answer(Refused(Refusal.NOT_FOUND, "There is no such route."))
        case 405:
            return answer(Refused(Refusal.METHOD_NOT_ALLOWED, "See the Allow header."), error.headers)
        case 413:
            return answer(too_large(BODY_BYTES_MAX))
        case status if status < 500:
            return answer(Refused(Refusal.MALFORMED, error.detail))
        case _:
            return on_failure(_, error)


def on_database(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return answer(of_database(error, UNREAD if request.method == "GET" else CONNECTION_BROKE))


def of_database(error: Exception, away: Refused) -> Refused:
    """The refusal for a failed database call: `away` if the same request may succeed later."""
    if isinstance(error, database.BusyError):
        return TOO_MANY_READERS
    if database.is_not_text(error):
        return Refused(Refusal.INVALID, database.NUL)
    if not database.is_passing(error):
        log_failed_request(log, error)
        return FAILED
    log.warning("the database does not answer: %r", error)
    return away


def on_failure(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log_failed_request(log, error)
    return answer(FAILED)


HANDLERS: ExceptionHandlersMap = {
    RefusedError: on_refused,
    ValidationException: on_validation,
    NotFoundException: on_http,
    MethodNotAllowedException: on_http,
    HTTPException: on_http,
    **dict.fromkeys(database.ERRORS, on_database),
    500: on_failure,
}
