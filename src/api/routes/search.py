"""Searching the transactions (`GET /transactions`): newest first, in pages with a bounded number of read rows."""

import binascii
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http.access import Needs
from api.http.problems import refuse
from api.http.refusals import Refusal
from api.posting.rows import transaction_of
from api.routes.answers import Json
from api.routes.pages import CURSOR
from polka.rules.keys import Caller, Scope
from polka.rules.money import AMOUNT_MAX
from polka.rules.payments import Page
from polka.rules.transactions import BANK_NAME
from polka.store.database import Pool

ROWS_READ_MAX = 10_000
"""The most transactions that a page reads. A transfer inside a bank is read once from each of its sides."""
LIMIT_MAX = 500

PAYMENT_SECONDS_MAX = 300
"""The longest time between the arrival of a payment (in its id) and its commit: the longest timeout."""
CLOCK_SKEW_SECONDS_MAX = 300
"""The largest difference between the clocks of an api, which makes the ids, and of the database."""

SESSION = {
    # Each statement has a single plan without a sort: the plan walks an index, newest first, and stops early. Other
    # plans read and sort all matches, and must never be used, regardless of the statistics.
    "enable_sort": "off",
    "max_parallel_workers_per_gather": "0",  # workers would read ahead
    "plan_cache_mode": "force_generic_plan",  # making the plan again takes longer than a page
}
"""Settings of searching sessions."""

FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, kw_only=True)
class Search:
    """The parameters of `GET /transactions`. Each parameter narrows the search."""

    bank: Annotated[str | None, QueryParameter(description="The sender's or the receiver's.", pattern=BANK_NAME)] = None
    account: Annotated[
        str | None,
        QueryParameter(
            description="The sender's or the receiver's; with `bank`, its account at that bank.",
            pattern=r"^[A-Za-z0-9]{1,34}\Z",
        ),
    ] = None
    currency: Annotated[str | None, QueryParameter(description="What the sender pays.", pattern=r"^[A-Z]{3}\Z")] = None
    amount_min: Annotated[int, QueryParameter(description="Minor units.", ge=1, le=AMOUNT_MAX)] = 1
    amount_max: Annotated[int, QueryParameter(description="Minor units.", ge=1, le=AMOUNT_MAX)] = AMOUNT_MAX
    from_: Annotated[
        str | None,
        QueryParameter(name="from", description="Created at this time or later.", format="date-time"),
    ] = None
    to: Annotated[str | None, QueryParameter(description="Created before this time.", format="date-time")] = None
    status: Annotated[Literal["accepted", "deleted"] | None, QueryParameter(description="As it is by now.")] = None
    reference: Annotated[
        str | None, QueryParameter(description="The whole reference.", pattern=r"^[^\x00-\x1f\x7f]{1,140}\Z")
    ] = None
    limit: Annotated[int, QueryParameter(description="The most to answer.", ge=1, le=LIMIT_MAX)] = 50
    cursor: Annotated[str | None, QueryParameter(description=CURSOR)] = None


@get("/transactions", tags=["Payments"], guards=[Needs(Scope.TRANSACTIONS_READ)])
async def list_transactions(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    search: NamedDependency[Search],
    search_pool: NamedDependency[Pool],
) -> Response[Page]:
    """Find transactions, the newest first. A bank's key finds the transactions of its bank.

    A page reads at most 10,000 transactions. If few of them match, the page is short, or even empty. While there is a
    `cursor`, the next page may have more. Payments committed during the search neither hide nor repeat others.
    """
    page = await find(search_pool, search, caller.bank)
    if page.cursor is None:
        return Json(page)
    query = request.query_params.multi_items()
    following = urlencode([*((name, value) for name, value in query if name != "cursor"), ("cursor", page.cursor)])
    return Json(page, headers={"Link": f'<{request.url.path}?{following}>; rel="next"'})


async def find(pool: Pool, search: Search, visible_to: str | None = None) -> Page:
    """A page of the search. With `visible_to`, only the transactions of this bank are found."""
    created_from = read_time(search.from_, "from")
    created_to = read_time(search.to, "to")
    before = read_cursor(search.cursor)
    since = FIRST
    if created_from:
        since = first_id(created_from, -PAYMENT_SECONDS_MAX - CLOCK_SKEW_SECONDS_MAX)
    if created_to:
        before = min(before, first_id(created_to, CLOCK_SKEW_SECONDS_MAX))
    rows = await pool.fetch(
        statement_for(search, visible_to),
        before,
        since,
        search.limit,
        search.bank,
        search.account,
        search.reference,
        visible_to,
        search.currency,
        search.amount_min,
        search.amount_max,
        created_from,
        created_to,
        search.status,
    )
    found = [row for row in rows if row["matches"]]
    last = None
    if len(found) > search.limit:
        found.pop()
        last = found[-1]
    elif rows and rows[-1]["place"] == ROWS_READ_MAX:
        last = rows[-1]
    cursor = cursor_of(last["id"]) if last else None
    return Page([transaction_of(row) for row in found], cursor, cursor)


def read_time(text: str | None, field: str) -> datetime | None:
    try:
        return None if text is None else msgspec.convert(text, Time).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        refuse(Refusal.INVALID, f"{field}: must be an RFC 3339 time, as 2026-01-31T12:00:00Z.", field)


Time = Annotated[datetime, msgspec.Meta(tz=True)]


def first_id(time: datetime, later_seconds: int) -> UUID:
    """The first UUIDv7 at this number of seconds after the time."""
    milliseconds = (time - EPOCH) // timedelta(milliseconds=1) + later_seconds * 1000
    return UUID(int=max(0, milliseconds) << 80)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def cursor_of(last: UUID) -> str:
    return urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def read_cursor(text: str | None) -> UUID:
    """The id before which the page begins."""
    if text is None:
        return LAST
    try:
        return UUID(bytes=b64decode(f"{text}==", b"-_", validate=True))
    except (binascii.Error, ValueError):
        refuse(Refusal.INVALID, "cursor: must be the `cursor` of another page.", "cursor")


def statement_for(search: Search, visible_to: str | None) -> str:
    """The statement that walks the index with probably the fewest rows for this search.

    A bank's search always walks the bank's own payments.
    """
    if visible_to is not None:
        return BY_VISIBLE  # neither `cursor` nor the time depends on other banks' payments
    if search.reference is not None:
        return BY_REFERENCE
    if search.account is not None:
        return BY_ACCOUNT
    if search.bank is not None:
        return BY_BANK
    return ALL


# All statements have the same parameters and filters. Each walks another index.

FILTERS = """
    ($4::text IS NULL OR $4 IN (sender_bank, receiver_bank))
AND ($5::text IS NULL OR $5 = sender_account AND coalesce($4 = sender_bank, true)
                      OR $5 = receiver_account AND coalesce($4 = receiver_bank, true))
AND ($6::text IS NULL OR $6 = reference)
AND ($7::text IS NULL OR $7 IN (sender_bank, receiver_bank))
AND ($8::text IS NULL OR $8 = currency)
AND amount BETWEEN $9 AND $10
AND ($11::timestamptz IS NULL OR $11 <= created_at)
AND ($12::timestamptz IS NULL OR $12 > created_at)
AND ($13::text IS NULL OR $13 = status)
"""


def walk(parameter: str, *columns: str) -> str:
    """The transactions with the parameter in one of the columns, once each, newest first.

    The comparison of rows, and the order by the column, leave only the column's own index for the walk. With a plain
    equation the planner may walk all transactions, and drop the transactions of others.
    """
    sides = " UNION ALL ".join(
        f"""(SELECT {column} AS key, * FROM transactions
             WHERE {column} IS NOT NULL AND ({column}, id) < ({parameter}, $1) AND ({column}, id) >= ({parameter}, $2)
             ORDER BY {column} DESC, id DESC LIMIT {ROWS_READ_MAX})"""
        for column in columns
    )
    return f"SELECT DISTINCT ON (key, id) * FROM ({sides}) side ORDER BY key DESC, id DESC"


def statement(walk: str, order: str = "key DESC, id DESC") -> str:
    """Walks until `limit` + 1 transactions match, and then looks up the batch of each transaction.

    The last readable row is returned in any case, because the next page continues there.
    """
    return f"""
SELECT page.*, posting.posted_at, posting.window_id FROM (
    SELECT * FROM (
        SELECT *, row_number() OVER (ORDER BY {order}) AS place, ({FILTERS}) AS matches
        FROM ({walk} LIMIT {ROWS_READ_MAX}) walk
    ) looked_at
    WHERE matches OR place = {ROWS_READ_MAX} ORDER BY {order} LIMIT $3::int + 1
) page LEFT JOIN LATERAL (
    SELECT posted_at, window_id FROM batches WHERE batches.id = page.batch LIMIT 1
) posting ON true
ORDER BY {order}
"""


BY_BANK = statement(walk("$4::text", "sender_bank", "receiver_bank"))
BY_ACCOUNT = statement(walk("$5::text", "sender_account", "receiver_account"))
BY_REFERENCE = statement(walk("$6::text", "reference"))
BY_VISIBLE = statement(walk("$7::text", "sender_bank", "receiver_bank"))
ALL = statement("SELECT * FROM transactions WHERE id < $1 AND id >= $2 ORDER BY id DESC", "id DESC")
