"""What Litestar cannot see of the routes, whose handlers read and answer bytes: bodies, examples and refusals."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from api.http.refusals import Refusal
from api.routes import bulk
from api.routes.answers import BulkResult
from api.routes.banks import BankWithTerms, NewBank
from api.routes.currencies import Conversion, Currencies, DayRates
from api.routes.keys import ApiKeys, MadeKey
from api.routes.search import Page
from api.routes.transactions import History
from polka.audit.runs import Runs
from polka.rules.drills import Drills, DrillToStart
from polka.rules.keys import NewKey
from polka.rules.policy import TermsPatch
from polka.rules.transactions import Amendment, Payment, Transaction
from polka.rules.windows import Report, Window, Windows, WindowToClose
from polka.store.api_keys import ApiKey
from polka.store.exposures import Exposures, LiquidityHistory
from polka.store.positions import Accounts, Banks

ID = "01a20c40-3dd1-72dd-9254-465d9e99dece"
PAYMENT_EXAMPLE = {
    "sender": {"bank": "bank1", "account": "ACC1"},
    "receiver": {"bank": "bank2", "account": "ACC1"},
    "amount": 1250,
    "currency": "USD",
    "reference": "Rent, March",
}
TRANSACTION_EXAMPLE = {
    "id": ID,
    "version": 1,
    "status": "accepted",
    **PAYMENT_EXAMPLE,
    "batch": "01a20c40-3dd3-737c-aac3-f1c826b4bce9",
    "created_at": "2026-11-24T06:31:06.451962Z",
    "changed_at": None,
    "posted_at": None,
    "window": None,
}
ACROSS_EXAMPLE = TRANSACTION_EXAMPLE | {
    "fee": 26,
    "receiver_amount": 1965,
    "receiver_currency": "JPY",
    "rate": "157.2502685",
    "rate_date": "2026-10-30",
    "rate_version": 1,
}
DELETED_EXAMPLE = TRANSACTION_EXAMPLE | {
    "version": 2,
    "status": "deleted",
    "batch": "01a20c41-0b5e-7d9a-8f0e-5a3c5f1f6d11",
    "changed_at": "2026-11-24T06:31:58.110732Z",
}
AMENDMENT_EXAMPLE = {"receiver": {"account": "ACC2"}, "reference": "Rent, March (corrected)"}
AMENDED_EXAMPLE = DELETED_EXAMPLE | {
    "status": "accepted",
    "receiver": {"bank": "bank2", "account": "ACC2"},
    "reference": "Rent, March (corrected)",
}
BULK_EXAMPLE = {"results": [{"status": 201, "transaction": TRANSACTION_EXAMPLE}]}
BANK_EXAMPLE = {
    "name": "bank1",
    "balances": [{"currency": "USD", "posted": -1250, "pending": 0}],
    "as_of": {"flush": 7, "time": "2026-11-24T06:31:07.467561Z"},
}
TERMS_EXAMPLE = {
    "caps": {"USD": 10000000},
    "suspended": "no",
    "fees": {"USD": {"fixed": 25, "basis_points": 10, "minimum": 0, "maximum": 500}},
    "interest": {"USD": {"debit_basis_points": 800, "credit_basis_points": 250}},
}
BANK_WITH_TERMS_EXAMPLE = {
    **BANK_EXAMPLE,
    **TERMS_EXAMPLE,
    "terms_version": 3,
    "terms_since": "2026-11-24T06:30:44.120775Z",
}
WINDOW_EXAMPLE = {
    "id": 1,
    "state": "closed",
    "opened_at": "2026-11-24T06:30:11.204913Z",
    "closed_at": "2026-11-24T06:31:09.771046Z",
    "settled_at": None,
    "flush": 8,
    "settlement": None,
    "scheduled_for": None,
    "interest_batch": None,
}
SETTLED_EXAMPLE = WINDOW_EXAMPLE | {
    "state": "settled",
    "settled_at": "2026-11-24T06:31:12.018331Z",
    "settlement": "01a20c40-5a12-7e0d-b4f1-6b0b7d3f2c57",
}
REPORT_EXAMPLE = WINDOW_EXAMPLE | {
    "totals": [
        {
            "bank": "bank1",
            "currency": "USD",
            "debits": 1250,
            "credits": 200,
            "count": 2,
            "fees": 0,
            "interest": 0,
            "net": -1050,
        }
    ],
    "netting": [{"currency": "USD", "gross": 1450, "bilateral": 1050, "multilateral": 1050, "saving": 400}],
}
DRILL_EXAMPLE = {
    "id": 1,
    "target": "cache",
    "process": "cache",
    "step": "ended",
    "started_at": "2026-11-24T06:31:02.020151Z",
    "killed_at": "2026-11-24T06:31:04.310992Z",
    "ended_at": "2026-11-24T06:31:09.108424Z",
    "acknowledged_before": 100,
    "acknowledged_after": 205,
    "waiting": 0,
    "repeated": 9,
    "refused": 0,
    "late": 11,
    "longest_wait_seconds": 1.52,
    "first_answer_seconds": 0.012,
    "ready_seconds": 1.43,
    "findings": {
        "stored_before": 100,
        "stored_after": 205,
        "lost": 0,
        "doubled": 0,
        "unacknowledged": 0,
        "wrong_balances": [],
    },
    "failure": None,
    "is_good": True,
}
DRILL_RUNS_EXAMPLE = DRILL_EXAMPLE | {
    "step": "before",
    "acknowledged_before": 1,
    "acknowledged_after": 0,
    **dict.fromkeys(("repeated", "late"), 0),
    "longest_wait_seconds": 0.006,
    **dict.fromkeys(("killed_at", "ended_at", "first_answer_seconds", "ready_seconds", "findings", "is_good")),
}
TARGETS_EXAMPLE = ["cache", "api", "postgres"]
HIGHEST_EXAMPLE = {"owed": 5200, "at": "2026-11-24T06:30:58.312045Z", "flush": 5}
EXPOSURES_EXAMPLE = {
    "currencies": [
        {
            "currency": "USD",
            "owes": 1250,
            "owed": 1250,
            "held": 0,
            "highest": HIGHEST_EXAMPLE,
            "concentration": {"debtors": 8125, "creditors": 10000},
            "caps": [{"bank": "bank1", "cap": 100000, "used": 1250, "basis_points": 125}],
        }
    ],
    "as_of": BANK_EXAMPLE["as_of"],
}
AUDIT_EXAMPLE = {
    "runs": [
        {
            "began_at": "2026-11-24T06:31:02.208417Z",
            "ended_at": "2026-11-24T06:31:03.467561Z",
            "flush": 7,
            "payments_new": 1,
            "payments_again": 20000,
            "faults": 1,
            "findings": [
                {
                    "check": "A bank's balance is the sum of its entries",
                    "subject": "bank1 USD",
                    "expected": "-1250",
                    "found": "-1251",
                }
            ],
            "skipped": [],
            "verified_from": "2026-11-24T05:12:40.310552Z",
        }
    ],
    "age_seconds": 12.5,
}
HISTORY_EXAMPLE = {
    "currency": "USD",
    "resolution": "minute",
    "samples": [
        {
            "start": "2026-11-24T06:31:00Z",
            "last": {"owes": 1250, "owed": 1250, "held": 0},
            "at": "2026-11-24T06:31:07.467561Z",
            "flush": 7,
            "highest": HIGHEST_EXAMPLE | {"at": "2026-11-24T06:31:00Z"},
        }
    ],
    "next": None,
}


class Described(msgspec.Struct, frozen=True):
    """What Litestar cannot see of a route: its bodies, the headers and parameters that it reads, its refusals."""

    answers: Mapping[int, tuple[Any, Any]]
    """By status: the type of the body (of several types, one of them), and an example of it."""
    body: tuple[Any, Any] | None = None
    refusals: Sequence[Refusal] = ()
    parameters: Sequence[str] = ()
    message_pack: bool = False
    csv: bool = False


WRITES = (
    Refusal.MALFORMED,
    Refusal.TOO_LARGE,
    Refusal.KEY_REUSED,
    Refusal.OVERLOADED,
    Refusal.DATABASE_AWAY,
    Refusal.OUTCOME_UNKNOWN,
    Refusal.TIMEOUT,
    Refusal.OUTCOME_UNKNOWN_IN_TIME,
)
CAPPED = (Refusal.CAP_EXCEEDED, Refusal.CAP_UNCHECKED)
PAYS = (*WRITES, Refusal.SAME_ACCOUNT, Refusal.UNKNOWN_BANK, Refusal.BANK_SUSPENDED, *CAPPED)
CONVERTS = (
    Refusal.UNKNOWN_CURRENCY,
    Refusal.NO_RATE,
    Refusal.RATES_STALE,
    Refusal.AMOUNT_TOO_LARGE,
)
PAYS_ACROSS = (*PAYS, *CONVERTS, Refusal.AMOUNT_TOO_SMALL)
CHANGES = (
    *WRITES,
    Refusal.NOT_FOUND,
    Refusal.DELETED,
    Refusal.STALE_VERSION,
    Refusal.CONFLICT,
    Refusal.BANK_SUSPENDED,
    *CAPPED,
)
READS = (Refusal.DATABASE_AWAY, Refusal.OVERLOADED)
BEGUN = (Refusal.OVERLOADED, Refusal.OUTCOME_UNKNOWN, Refusal.OUTCOME_UNKNOWN_IN_TIME)
SAVES = (Refusal.MALFORMED, Refusal.TOO_LARGE, *BEGUN)
CLEARS = (Refusal.CONFLICT, Refusal.CACHE_AWAY, *BEGUN)
DRILLS = (Refusal.NOT_FOUND, Refusal.CONTROL_AWAY)
KEYED = ("Idempotency-Key",)
WAITS = ("Request-Timeout", "timeout")
"""The parameters of all routes."""

ROUTES: dict[tuple[str, str], Described] = {
    ("GET", "/hello"): Described({200: (dict[str, str], {"hello": "polka"})}),
    ("POST", "/transaction"): Described(
        {201: (Transaction, ACROSS_EXAMPLE)},
        (Payment, PAYMENT_EXAMPLE | {"receiver_currency": "JPY"}),
        PAYS_ACROSS,
        KEYED,
    ),
    ("GET", "/transaction"): Described(
        {200: ((Transaction, BulkResult), TRANSACTION_EXAMPLE)},
        refusals=(*READS, Refusal.NOT_FOUND, *PAYS_ACROSS, *CHANGES, Refusal.ITEMS_REFUSED),
    ),
    ("GET", "/transaction/{transaction_id}"): Described(
        {200: (Transaction, TRANSACTION_EXAMPLE)}, refusals=(*READS, Refusal.NOT_FOUND)
    ),
    ("GET", "/transactions/{transaction_id}"): Described(
        {200: (Transaction, TRANSACTION_EXAMPLE)}, refusals=(*READS, Refusal.NOT_FOUND)
    ),
    ("PATCH", "/transaction/{transaction_id}"): Described(
        {200: (Transaction, AMENDED_EXAMPLE)},
        (Amendment, AMENDMENT_EXAMPLE),
        (*CHANGES, *PAYS),
        (*KEYED, "If-Match", "reason"),
    ),
    ("DELETE", "/transaction/{transaction_id}"): Described(
        {200: (Transaction, DELETED_EXAMPLE)}, None, CHANGES, (*KEYED, "If-Match", "reason")
    ),
    ("GET", "/transaction/{transaction_id}/history"): Described(
        {200: (History, None)}, refusals=(*READS, Refusal.NOT_FOUND)
    ),
    ("GET", "/transactions"): Described(
        {200: (Page, {"transactions": [TRANSACTION_EXAMPLE], "next": None})}, refusals=READS
    ),
    ("POST", "/transactions"): Described(
        {
            201: (BulkResult, {"results": [{"status": 201, "transaction": TRANSACTION_EXAMPLE}]}),
            207: (BulkResult, None),
        },
        (list[Payment], [PAYMENT_EXAMPLE]),
        (*WRITES, Refusal.ITEMS_REFUSED, Refusal.RATES_STALE, *CAPPED),
        (*KEYED, "mode"),
        message_pack=True,
    ),
    ("GET", "/banks"): Described({200: (Banks, {"banks": [BANK_EXAMPLE], "next": None})}, refusals=READS),
    ("POST", "/banks"): Described(
        {201: (NewBank, {"name": "First Bank"})}, (NewBank, {"name": "First Bank"}), (*SAVES, Refusal.CONFLICT)
    ),
    ("GET", "/banks/{name}"): Described(
        {200: (BankWithTerms, BANK_WITH_TERMS_EXAMPLE)}, refusals=(*READS, Refusal.NOT_FOUND)
    ),
    ("PATCH", "/banks/{name}"): Described(
        {200: (BankWithTerms, BANK_WITH_TERMS_EXAMPLE)},
        (TermsPatch, TERMS_EXAMPLE),
        (*SAVES, Refusal.NOT_FOUND),
    ),
    ("GET", "/banks/{name}/accounts"): Described({200: (Accounts, None)}, refusals=(*READS, Refusal.NOT_FOUND)),
    ("GET", "/clearing"): Described(
        {200: (Windows, {"windows": [WINDOW_EXAMPLE], "next": None})}, refusals=READS, csv=True
    ),
    ("POST", "/clearing"): Described(
        {200: (Window, WINDOW_EXAMPLE)}, (WindowToClose, {"window": 1}), (*CLEARS, Refusal.MALFORMED, Refusal.TOO_LARGE)
    ),
    ("GET", "/clearing/{window}"): Described(
        {200: (Report, REPORT_EXAMPLE)}, refusals=(*READS, Refusal.NOT_FOUND), csv=True
    ),
    ("POST", "/clearing/{window}/settle"): Described(
        {200: (Window, SETTLED_EXAMPLE)}, refusals=(*CLEARS, Refusal.NOT_FOUND)
    ),
    ("GET", "/liquidity"): Described({200: (Exposures, EXPOSURES_EXAMPLE)}, refusals=READS),
    ("GET", "/liquidity/history"): Described(
        {200: (LiquidityHistory, HISTORY_EXAMPLE)}, refusals=(*READS, Refusal.UNKNOWN_CURRENCY)
    ),
    ("GET", "/audit"): Described({200: (Runs, AUDIT_EXAMPLE)}, refusals=READS),
    ("GET", "/currencies"): Described(
        {200: (Currencies, {"currencies": [{"code": "USD", "name": "US Dollar", "exponent": 2}]})}
    ),
    ("GET", "/rates"): Described(
        {
            200: (
                DayRates,
                {
                    "base": "EUR",
                    "date": "2026-10-30",
                    "version": 1,
                    "source": "recorded",
                    "stored_at": "2026-11-24T06:31:01.106418Z",
                    "rates": {"JPY": "175.68", "USD": "1.1172"},
                },
            )
        },
        refusals=(*READS, Refusal.NOT_FOUND),
    ),
    ("GET", "/convert"): Described(
        {
            200: (
                Conversion,
                {
                    "from": {"amount": 1250, "currency": "USD"},
                    "to": {"amount": 1965, "currency": "JPY"},
                    "rate": "157.2502685",
                    "date": "2026-10-30",
                    "version": 1,
                    "source": "recorded",
                },
            )
        },
        refusals=(*READS, *CONVERTS),
    ),
    ("POST", "/keys"): Described(
        {201: (MadeKey, None)},
        (NewKey, {"name": "till 7", "bank": "bank1", "scopes": ["transactions:write"]}),
        (*SAVES, Refusal.UNKNOWN_BANK),
    ),
    ("GET", "/keys"): Described({200: (ApiKeys, None)}, refusals=READS),
    ("DELETE", "/keys/{key_id}"): Described({200: (ApiKey, None)}, refusals=(Refusal.NOT_FOUND, *BEGUN)),
    ("GET", "/drills"): Described(
        {200: (Drills, {"targets": TARGETS_EXAMPLE, "running": None, "results": [DRILL_EXAMPLE]})}, refusals=DRILLS
    ),
    ("POST", "/drills"): Described(
        {202: (Drills, {"targets": TARGETS_EXAMPLE, "running": DRILL_RUNS_EXAMPLE, "results": []})},
        (DrillToStart, {"target": "cache"}),
        (*DRILLS, Refusal.CONFLICT, Refusal.MALFORMED, Refusal.TOO_LARGE, Refusal.OUTCOME_UNKNOWN_IN_TIME),
    ),
}
REFUSED_ANYWHERE = (
    Refusal.INVALID,
    Refusal.MALFORMED,
    Refusal.SLOW,
    Refusal.URL_TOO_LONG,
    Refusal.HEADERS_TOO_LARGE,
    Refusal.UNSUPPORTED_ENCODING,
    Refusal.OVERLOADED,
    Refusal.TIMEOUT,
    Refusal.INTERNAL,
)
REFUSED_WITH_KEY = (Refusal.UNAUTHORIZED, Refusal.FORBIDDEN, Refusal.RATE_LIMITED, Refusal.DATABASE_AWAY)

DURATION = {"type": "string", "pattern": r"^(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+$", "maxLength": 32, "example": "250ms"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "in": "header",
        "description": "The same key with the same request gets the first answer again, for a day.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    },
    "Request-Timeout": {"in": "header", "description": "As `timeout`.", "schema": DURATION},
    "If-Match": {
        "in": "header",
        "description": "The version that is meant, as the payment's ETag says it.",
        "schema": {"type": "string", "pattern": r'^("\d{1,9}"|\*)$'},
    },
    "timeout": {"in": "query", "description": "How long you wait, at most 300s.", "schema": DURATION},
    "reason": {
        "in": "query",
        "description": "Why, for the history.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 140, "pattern": r"^[^\x00-\x1f\x7f]+$"},
    },
    "mode": {
        "in": "query",
        "description": "All payments or none, or each by itself.",
        "schema": {"type": "string", "enum": list(bulk.MODES), "default": bulk.MODES[0]},
    },
}
