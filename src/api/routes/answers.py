"""From the outcome of an operation to the client's bytes: one way for every writing route."""

import logging
from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec
from litestar import MediaType, Response
from litestar.serialization import default_serializer
from litestar.types import Serializer

from api import metrics
from api.http import problems
from api.http.problems import RefusedError
from api.http.refusals import FAILED, UNRECORDED, Refused, problem
from api.posting.batches import Outcome
from api.posting.operations import Results
from polka.rules.keys import Caller
from polka.rules.payments import BulkResult, ItemResult
from polka.rules.transactions import Transaction
from polka.store import database, positions

log = logging.getLogger(__name__)

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""


class Json(Response[Any]):
    """JSON with a newline at the end, so that a terminal's prompt begins on a new line."""

    def render(self, content: Any, media_type: str, enc_hook: Serializer = default_serializer) -> bytes:
        body = super().render(content, media_type, enc_hook)
        return body + b"\n" if body and media_type == MediaType.JSON else body


def as_json(answer: msgspec.Struct | bytes, headers: Mapping[str, str] | None = None) -> Response[Any]:
    """The answer as JSON. A handler's return type names the type behind the bytes, for the description."""
    body = answer if isinstance(answer, bytes) else positions.encode(answer)
    return Json(body, media_type=MediaType.JSON, headers=headers)


async def certain(work: Awaitable[Outcome]) -> Outcome:
    """The outcome of the work. An exception becomes an outcome too."""
    try:
        return await work
    except RefusedError as error:
        return error.refused
    except database.ERRORS as error:
        return problems.of_database(error, UNRECORDED)
    except Exception:
        log.exception("a request failed")
        return FAILED


def encode(outcome: Outcome, status: int, caller: Caller) -> Answer:
    """The answer with this status if one transaction was accepted. For many: 201 if all are accepted, otherwise 207."""
    if isinstance(outcome, Refused):
        return problems.encode(outcome, caller)
    result = outcome.result
    if isinstance(result, list):
        done = bulk_result(result, caller)
        status = 201 if all(item.problem is None for item in done.results) else 207
        body, headers = positions.encode(done) + b"\n", [JSON]
    else:
        body, headers = to_json(result) + b"\n", [JSON, (b"etag", etag(result).encode())]
        if status == 201:
            headers.append((b"location", f"/transaction/{result.id}".encode()))
    headers.append((b"content-length", b"%d" % len(body)))
    if outcome.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return status, headers, body


def bulk_result(results: Results, caller: Caller) -> BulkResult:
    return BulkResult([item_result(item, caller) for item in results])


def item_result(item: Transaction | Refused, caller: Caller) -> ItemResult:
    if isinstance(item, Refused):
        return ItemResult(item.refusal.value.status, problem=problem(item, caller))
    return ItemResult(201, transaction=item)


def etag(transaction: Transaction) -> str:
    return f'"{transaction.version}"'


def count(operation: str, outcome: Outcome) -> None:
    if isinstance(outcome, Refused):
        name = outcome.refusal.value.code
    else:
        name = "replayed" if outcome.replayed else "accepted"
    metrics.operation(operation, name).inc()


def as_response(answer: Answer) -> Response[Any]:
    """The same for Litestar's handlers."""
    status, headers, body = answer
    fields = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status_code=status, headers=fields, media_type=fields["content-type"])


to_json = msgspec.json.Encoder().encode
JSON = (b"content-type", b"application/json")
