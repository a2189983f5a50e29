"""Requests that the app never sees: the reasons for their rejection, and the answers to their clients."""

from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from polka.edge import bounds
from polka.edge.bounds import Reason
from polka.rules import problem
from polka.rules.problem import Kind
from polka.service.instrumentation import HEADER, Ids


class UnfitError(Exception):
    """A request that never reaches the app."""

    def __init__(self, reason: Reason, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.kind = kind
        self.detail = detail


def answer(unfit: UnfitError, headers: Iterable[tuple[bytes, bytes]], scope: Any) -> bytes:
    """The whole answer, with `headers` before its own headers. The connection ends with this answer.

    `scope` is the request's, as far as it was read; None if no request has begun.
    """
    body = problem.document(unfit.kind, unfit.detail)
    own = [
        (b"content-type", problem.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (HEADER, Ids().of(scope or {"headers": []})),
    ]
    if unfit.kind is problem.OVERLOADED:
        own.append((b"retry-after", b"1"))
    lines = (b"%b: %b\r\n" % one for one in (*headers, *own))
    return b"".join([STATUS_LINE[unfit.kind.status], *lines, b"\r\n", body])


def malformed(why: str) -> UnfitError:
    return UnfitError(Reason.MALFORMED, problem.MALFORMED, f"This is not valid HTTP/1.1: {why}.")


def not_chunked() -> UnfitError:
    detail = "Transfer-Encoding: must be chunked and nothing else, in HTTP/1.1."
    return UnfitError(Reason.MALFORMED, problem.MALFORMED, detail)


def too_slow_a_head() -> UnfitError:
    return UnfitError(Reason.HEAD_TIMEOUT, problem.SLOW, "The headers did not arrive in time.")


def too_many_connections(reason: Reason) -> UnfitError:
    return UnfitError(reason, problem.OVERLOADED, "Too many connections are open. Try again.")


def too_large(path: str) -> UnfitError:
    detail = f"The body of this request has at most {bounds.body_bytes_max(path)} bytes."
    return UnfitError(Reason.BODY_TOO_LARGE, problem.TOO_LARGE, detail)


def url_too_long() -> UnfitError:
    detail = f"A URL has at most {bounds.URL_BYTES_MAX} bytes."
    return UnfitError(Reason.URL_TOO_LONG, problem.URL_TOO_LONG, detail)


def headers_too_large() -> UnfitError:
    detail = f"A request has at most {bounds.HEADERS_MAX} headers, and {bounds.HEAD_BYTES_MAX} bytes before its body."
    return UnfitError(Reason.HEADERS_TOO_LARGE, problem.HEADERS_TOO_LARGE, detail)
