"""Clearing windows (`/clearing…`): a list, the totals of a window, close and settle.

The cache closes and settles, because the cache alone writes balances. Reads ask the database.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from api.cache_client import CacheClient, Silence
from api.http.access import Needs
from api.http.problems import RefusedError, refuse
from api.http.refusals import Refusal, Refused
from api.routes.answers import as_json
from api.routes.described import described
from api.routes.pages import CURSOR, OLDER_NAME, Limit, place
from api.routes.requests import read_json
from polka.rules.keys import Caller, Scope
from polka.rules.windows import Conflict, Report, Total, Window, Windows, WindowToClose
from polka.store import clearing
from polka.store.database import Pool

CSV = "text/csv"

Format = Annotated[Literal["json", "csv"] | None, QueryParameter(description="Instead of what the Accept header says.")]


@post(
    "/clearing",
    status_code=200,
    tags=["Clearing"],
    guards=[Needs(Scope.OPERATE)],
    opt=described(Refusal.CONFLICT, Refusal.CACHE_AWAY, body=WindowToClose),
)
async def close_window(request: Request[Any, Any, Any], cache: NamedDependency[CacheClient]) -> Window:
    """Close the window with everything posted until now. Later payments belong to the next window.

    A closed window stays unchanged and is the answer, so you can repeat the call.
    """
    to_close = await read_json(request, decode)
    return await ordered(cache, "/clearing", "closed", to_close)


@post(
    "/clearing/{window:int}/settle",
    status_code=200,
    tags=["Clearing"],
    guards=[Needs(Scope.OPERATE)],
    opt=described(Refusal.CONFLICT, Refusal.CACHE_AWAY),
)
async def settle_window(
    window: FromPath[int], cache: NamedDependency[CacheClient], pool: NamedDependency[Pool]
) -> Window:
    """Settle a closed window: settlement entries bring each of its nets to zero, once.

    A settled window stays unchanged and is the answer, so you can repeat the call.
    """
    if not await clearing.exists(pool, window):
        raise RefusedError(no_window(window))
    return await ordered(cache, f"/clearing/{window}/settle", "settled")


@get("/clearing", tags=["Clearing"], guards=[Needs(Scope.TRANSACTIONS_READ)], opt=described(csv=True))
async def list_windows(
    request: Request[Any, Any, Any],
    pool: NamedDependency[Pool],
    cursor: Annotated[int | None, QueryParameter(description=CURSOR, ge=1, le=2**63 - 1)] = None,
    before: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1, **OLDER_NAME)] = None,
    limit: Limit = 100,
    format: Format = None,
) -> Response[Windows]:
    """Clearing windows, the newest first. The first window is open."""
    page = await clearing.windows(pool, place(cursor, before, "before"), limit)
    if wants_csv(request, format):
        return as_csv(Window.__struct_fields__, (msgspec.structs.astuple(window) for window in page))
    last = page[-1].id if len(page) == limit else None
    return as_json(Windows(page, last, last))


@get("/clearing/{window:int}", tags=["Clearing"], guards=[Needs(Scope.TRANSACTIONS_READ)], opt=described(csv=True))
async def get_window(
    request: Request[Any, Any, Any],
    window: FromPath[int],
    caller: NamedDependency[Caller],
    pool: NamedDependency[Pool],
    format: Format = None,
) -> Response[Report]:
    """A window, with the totals of each bank in each currency. A bank's key sees the totals of its own bank alone."""
    report = await read(pool, window, caller.bank)
    if wants_csv(request, format):
        rows = ((window, *msgspec.structs.astuple(total)) for total in report.totals)
        return as_csv(("window", *Total.__struct_fields__), rows)
    return as_json(report)


async def read(pool: Pool, window: int, bank: str | None) -> Report:
    report = await clearing.report(pool, window, bank)
    if report is None:
        raise RefusedError(no_window(window))
    return report


def no_window(window: int) -> Refused:
    return Refused(Refusal.NOT_FOUND, f"There is no window {window}.")


async def ordered(cache: CacheClient, path: str, what: str, body: msgspec.Struct | None = None) -> Window:
    """The window in its present state, from the cache."""
    answer = await cache.order(path, Window, body)
    if answer is Silence.NOT_BEGUN:
        refuse(Refusal.CACHE_AWAY, f"Nothing was {what}: the cache, which does that, does not answer. Try again.")
    if answer is Silence.UNKNOWN:
        refuse(Refusal.OUTCOME_UNKNOWN, f"It may be {what} now, or soon. Send the same again: it is done once.")
    if isinstance(answer, Conflict):
        refuse(Refusal.CONFLICT, answer.detail)
    return answer


def wants_csv(request: Request[Any, Any, Any], format: str | None) -> bool:
    return format == "csv" or (format is None and request.accept.best_match([MediaType.JSON, CSV]) == CSV)


def as_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Response[Any]:
    """RFC 4180, with a header line. Times are written as in JSON."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows([value.isoformat() if isinstance(value, datetime) else value for value in row] for row in rows)
    return Response(text.getvalue().encode(), media_type=CSV)


decode = msgspec.json.Decoder(WindowToClose).decode
