"""All refusals of the api: one table from the reason to the client's view (RFC 9457)."""

from enum import Enum
from typing import Any

import msgspec

from polka.rules import problem as edge
from polka.rules.keys import Caller
from polka.rules.messages import Overdraft
from polka.rules.money import figure, written
from polka.rules.problem import ItemRefused, Kind, Problem


class Refusal(Enum):
    """In the order of precedence: the first of several reasons is reported."""

    UNAUTHORIZED = Kind(401, "unauthorized", "A valid key is needed")
    RATE_LIMITED = Kind(429, "rate_limited", "There are too many requests")
    FORBIDDEN = Kind(403, "forbidden", "The key does not allow this")
    MALFORMED = edge.MALFORMED
    INVALID = Kind(400, "invalid", "The request is not valid")
    NOT_FOUND = Kind(404, "not_found", "There is no such thing here")
    METHOD_NOT_ALLOWED = Kind(405, "method_not_allowed", "This method is not allowed here")
    TOO_LARGE = edge.TOO_LARGE
    URL_TOO_LONG = edge.URL_TOO_LONG
    HEADERS_TOO_LARGE = edge.HEADERS_TOO_LARGE
    SLOW = edge.SLOW
    UNSUPPORTED_ENCODING = Kind(415, "unsupported_encoding", "The body has a content encoding that is not supported")
    STALE_VERSION = Kind(412, "stale_version", "The payment is in another version")
    KEY_REUSED = Kind(422, "key_reused", "The idempotency key belongs to another request")
    SAME_ACCOUNT = Kind(422, "same_account", "Sender and receiver are the same account")
    UNKNOWN_CURRENCY = Kind(422, "unknown_currency", "The currency is not in ISO 4217")
    NO_RATE = Kind(422, "no_rate", "There is no exchange rate for the currency")
    RATES_STALE = Kind(503, "rates_stale", "The exchange rates are too old")
    AMOUNT_TOO_LARGE = Kind(422, "amount_too_large", "The amount is larger than one payment may be")
    AMOUNT_TOO_SMALL = Kind(422, "amount_too_small", "The amount comes to nothing in the other currency")
    UNKNOWN_BANK = Kind(422, "unknown_bank", "There is no such bank")
    BANK_SUSPENDED = Kind(409, "bank_suspended", "The bank is suspended")
    CAP_EXCEEDED = Kind(409, "cap_exceeded", "The bank may not owe that much")
    ITEMS_REFUSED = Kind(422, "items_refused", "Items of the request are refused, so none was taken")
    DELETED = Kind(410, "deleted", "The payment is deleted")
    CONFLICT = Kind(409, "conflict", "Conflict with the current state")
    OVERLOADED = edge.OVERLOADED
    DATABASE_AWAY = Kind(503, "database_away", "The database does not answer")
    CACHE_AWAY = Kind(503, "cache_away", "The cache does not answer")
    CONTROL_AWAY = Kind(503, "control_away", "`polka up` does not answer")
    CAP_UNCHECKED = Kind(503, "cap_unchecked", "Nobody can check the bank's cap")
    TIMEOUT = Kind(504, "timeout", "The time ran out")
    OUTCOME_UNKNOWN = Kind(503, "outcome_unknown", "The outcome is unknown")
    OUTCOME_UNKNOWN_IN_TIME = Kind(504, "outcome_unknown", "The outcome is not known in time")
    INTERNAL = Kind(500, "internal", "Polka has failed")


RETRY_AFTER_SECONDS = dict.fromkeys(
    (
        Refusal.OVERLOADED,
        Refusal.DATABASE_AWAY,
        Refusal.CACHE_AWAY,
        Refusal.CONTROL_AWAY,
        Refusal.CAP_UNCHECKED,
        Refusal.OUTCOME_UNKNOWN,
    ),
    1,
)


class Refused(msgspec.Struct, frozen=True):
    """A refusal: its fact, the field in question, the items of a request with several items, the exceeded cap, and
    headers."""

    refusal: Refusal
    detail: str
    field: str | None = None
    items: list[ItemRefused] | None = None
    overdraft: Overdraft | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def stored(self) -> dict[str, Any]:
        """In the form for the row of an idempotency key."""
        items, overdraft = msgspec.to_builtins(self.items), msgspec.to_builtins(self.overdraft)
        stored = {"refusal": self.refusal.name, "detail": self.detail, "field": self.field, "items": items}
        return stored | ({"overdraft": overdraft} if overdraft else {})

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "Refused":
        items = msgspec.convert(stored.get("items"), list[ItemRefused] | None)
        refusal = Refusal.__members__.get(stored["refusal"], Refusal.INTERNAL)  # a newer Polka may know more
        overdraft = msgspec.convert(stored.get("overdraft"), Overdraft | None)
        return cls(refusal, stored["detail"], stored["field"], items, overdraft)


NO_KEY = Refused(
    Refusal.UNAUTHORIZED,
    "Send a key along, as `Authorization: Bearer polka_…`.",
    headers=(("www-authenticate", 'Bearer realm="polka"'),),
)
UNKNOWN_KEY = Refused(
    Refusal.UNAUTHORIZED,
    "The key is not valid.",
    headers=(("www-authenticate", 'Bearer realm="polka", error="invalid_token"'),),
)
KEYS_UNREADABLE = Refused(Refusal.DATABASE_AWAY, "The key could not be checked: nothing was done. Try again.")
KEY_REUSED = Refused(Refusal.KEY_REUSED, "This Idempotency-Key was used with another body.", field="Idempotency-Key")
UNRECORDED = Refused(Refusal.DATABASE_AWAY, "Nothing was recorded by this attempt; try again.")
OVERLOADED = Refused(Refusal.OVERLOADED, "The queue is full: nothing was recorded by this attempt; try again.")
TIMEOUT = Refused(Refusal.TIMEOUT, "The request was still queued: nothing was recorded by this attempt.")
NOTHING_CHANGED = Refused(Refusal.TIMEOUT, "The request took too long. Nothing was changed.")
TERMS_UNCHANGED = Refused(Refusal.TIMEOUT, "Payments in flight did not end in time: nothing was changed. Try again.")
PERHAPS_CHANGED = Refused(
    Refusal.OUTCOME_UNKNOWN_IN_TIME, "The request took too long. It may be done by now, or soon: see what it did."
)
CAP_UNCHECKED = Refused(
    Refusal.CAP_UNCHECKED,
    "The cache, which checks caps, does not answer: nothing was recorded by this attempt; try again.",
)
OUTCOME_UNKNOWN_IN_TIME = Refused(
    Refusal.OUTCOME_UNKNOWN_IN_TIME,
    "The commit has not answered yet. Repeat the request with the same Idempotency-Key to learn its result.",
)
OUTCOME_UNKNOWN = Refused(
    Refusal.OUTCOME_UNKNOWN, "Repeat the request with the same Idempotency-Key to learn its result."
)
CHANGED_MEANWHILE = Refused(Refusal.CONFLICT, "Another request changed this payment at the same time, and was first.")
NO_RATES = Refused(Refusal.RATES_STALE, "There are no rates yet.")
UNREAD = Refused(Refusal.DATABASE_AWAY, "Nothing could be read; try again.")
TOO_MANY_READERS = Refused(Refusal.OVERLOADED, "Too many requests wait for the database: nothing was done. Try again.")
CONNECTION_BROKE = Refused(
    Refusal.OUTCOME_UNKNOWN, "The connection to the database broke; see what it did, or try again."
)
INTERNAL = Refused(Refusal.INTERNAL, "The request could not be recorded; nothing was.")
FAILED = Refused(Refusal.INTERNAL, "The request failed; the log of this api says why.")


def cap_exceeded(over: Overdraft) -> Refused:
    return Refused(Refusal.CAP_EXCEEDED, cap_detail(over, with_figures=False), overdraft=over)


def cap_detail(over: Overdraft, with_figures: bool) -> str:
    if not with_figures:
        return f"{over.bank} may not owe that much in {over.currency}."
    return (
        f"{over.bank} may owe {written(over.cap, over.currency)} at most: "
        f"its balance is {figure(over.balance, over.currency)}, and {figure(over.pending, over.currency)} is pending."
    )


def problem(refused: Refused, caller: Caller | None) -> Problem:
    """The refusal as this caller may see it. None is an unknown caller.

    Only the bank itself and operators see a bank's figures, because another bank's cap may be the reason for a refusal.
    """
    kind, detail, over = refused.refusal.value, refused.detail, refused.overdraft
    if over:
        with_figures = caller is not None and caller.acts_for(over.bank)
        detail = cap_detail(over, with_figures)  # an older Polka stored the figures in the detail
        over = over if with_figures else None
    return Problem(kind.type, kind.title, kind.status, kind.code, detail, refused.field, refused.items, over)
