"""Every call of the API: how its request is built and how its answer is read. Pure.

Amounts are whole minor units of their currency: 1250 USD are $12.50.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from polka.rules.audits import Runs
from polka.rules.banks import Account, Accounts, Bank, Banks, BankWithTerms, NewBank
from polka.rules.currencies import Conversion, Currencies, DayRates
from polka.rules.drills import Drills, DrillToStart, Target
from polka.rules.front import Front
from polka.rules.headers import is_idempotency_key
from polka.rules.keys import ApiKey, ApiKeys, MadeKey, NewKey
from polka.rules.liquidity import Exposures, LiquidityHistory, Resolution, Sample
from polka.rules.payments import BulkResult, History, Page
from polka.rules.policy import TermsPatch
from polka.rules.transactions import Amendment, Payment, Transaction
from polka.rules.windows import Report, Window, Windows, WindowToClose

T = TypeVar("T")
P = TypeVar("P")

PAGE_SIZE = 100


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the reader of its answer. `is_repeatable`: sent twice, the request is done once."""

    method: str
    path: str
    read: Callable[[bytes], T]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    is_repeatable: bool = True

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass(frozen=True)
class Listing(Generic[T]):
    """A list that comes in pages: the call of the page at a cursor, with its items and the next cursor."""

    page: Callable[[str | None], Call[tuple[Sequence[T], str | None]]]


# Payments


def pay(payment: Payment, *, idempotency_key: str | None = None) -> Call[Transaction]:
    """Make a payment. The result comes after the payment is durable.

    Two calls with the same `idempotency_key` pay once. By default, the call makes a key for its own attempts.
    """
    return keyed("POST", "/transaction", Transaction, payment, idempotency_key)


def pay_many(
    payments: Sequence[Payment], *, mode: Literal["atomic", "each"] = "atomic", idempotency_key: str | None = None
) -> Call[BulkResult]:
    """Make up to 1,000 payments: with `atomic` all or none, with `each` all payments without a rejection."""
    return keyed("POST", path("/transactions", mode=mode), BulkResult, payments, idempotency_key)


def payment(id: str) -> Call[Transaction]:
    """The newest version of a payment."""
    return get(f"/transaction/{segment(id)}", Transaction)


def latest_payment() -> Call[Transaction]:
    """The newest payment that the key may see."""
    return get("/transaction", Transaction)


def outcome(idempotency_key: str) -> Call[Transaction | BulkResult]:
    """The outcome of the request with this idempotency key. A rejection is raised again as its problem."""
    return Call("GET", path("/transaction", idempotency_key=checked_key(idempotency_key)), read_outcome)


def history(id: str) -> Call[History]:
    """All versions of a payment, and who replaced each of them, when and why."""
    return get(f"/transaction/{segment(id)}/history", History)


def amend(
    id: str,
    amendment: Amendment,
    *,
    reason: str | None = None,
    version: int | None = None,
    idempotency_key: str | None = None,
) -> Call[Transaction]:
    """Change a party or the reference of a payment. With `version`, only if this is the newest version."""
    return keyed("PATCH", change_path(id, reason), Transaction, amendment, idempotency_key, if_match(version))


def delete(
    id: str, *, reason: str | None = None, version: int | None = None, idempotency_key: str | None = None
) -> Call[Transaction]:
    """Reverse a payment. With `version`, only if this is the newest version."""
    return keyed("DELETE", change_path(id, reason), Transaction, None, idempotency_key, if_match(version))


def payments(
    *,
    bank: str | None = None,
    account: str | None = None,
    currency: str | None = None,
    amount_min: int | None = None,
    amount_max: int | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    status: Literal["accepted", "deleted"] | None = None,
    reference: str | None = None,
    page_size: int = PAGE_SIZE,
) -> Listing[Transaction]:
    """All matching payments, the newest first. `bank` and `account` are of the sender or of the receiver.

    Payments made meanwhile neither hide nor repeat others.
    """
    return listing(
        Page,
        lambda page: page.transactions,
        "/transactions",
        **{"from": created_from},
        bank=bank,
        account=account,
        currency=currency,
        amount_min=amount_min,
        amount_max=amount_max,
        to=created_to,
        status=status,
        reference=reference,
        limit=page_size,
    )


# Banks


def banks(*, page_size: int = PAGE_SIZE) -> Listing[Bank]:
    """All banks by name, with the balances of each."""
    return listing(Banks, lambda page: page.banks, "/banks", limit=page_size)


def bank(name: str) -> Call[BankWithTerms]:
    """One bank, with its balances and its terms."""
    return get(f"/banks/{segment(name)}", BankWithTerms)


def open_bank(name: str) -> Call[NewBank]:
    """Open a bank. Its accounts open with their first payments."""
    return write("POST", "/banks", NewBank, NewBank(name), is_repeatable=False)


def change_terms(name: str, change: TermsPatch) -> Call[BankWithTerms]:
    """Change a bank's caps, suspension, fees or interest. A value of None removes a term; omitted fields stay."""
    return write("PATCH", f"/banks/{segment(name)}", BankWithTerms, change)


def accounts(bank: str, *, account: str | None = None, page_size: int = PAGE_SIZE) -> Listing[Account]:
    """A bank's accounts by id, or only `account`."""
    where = f"/banks/{segment(bank)}/accounts"
    return listing(Accounts, lambda page: page.accounts, where, account=account, limit=page_size)


# Clearing


def windows(*, page_size: int = PAGE_SIZE) -> Listing[Window]:
    """All clearing windows, the newest first. The first window is open."""
    return listing(Windows, lambda page: page.windows, "/clearing", limit=page_size)


def window(id: int) -> Call[Report]:
    """One window, with the totals of each bank in each currency."""
    return get(f"/clearing/{id}", Report)


def close_window(id: int) -> Call[Window]:
    """Close the window. A closed window stays as it is."""
    return write("POST", "/clearing", Window, WindowToClose(id))


def settle_window(id: int) -> Call[Window]:
    """Bring the nets of a closed window to zero. A settled window stays as it is."""
    return write("POST", f"/clearing/{id}/settle", Window)


def liquidity(*, caps: int = 10) -> Call[Exposures]:
    """Debts of Polka, debts of banks, and money in each currency, with the `caps` banks nearest to their caps."""
    return get(path("/liquidity", caps=caps), Exposures)


def liquidity_history(
    currency: str,
    *,
    resolution: Resolution = "minute",
    since: datetime | None = None,
    until: datetime | None = None,
    page_size: int = PAGE_SIZE,
) -> Listing[Sample]:
    """The figures of one currency over time, the newest first."""
    return listing(
        LiquidityHistory,
        lambda page: page.samples,
        "/liquidity/history",
        **{"from": since},
        currency=currency,
        resolution=resolution,
        to=until,
        limit=page_size,
    )


# Currencies


def currencies() -> Call[Currencies]:
    """All currencies, with the number of digits of their minor units."""
    return get("/currencies", Currencies)


def rates(day: date | None = None) -> Call[DayRates]:
    """The exchange rates in force on a day, by default today."""
    return get(path("/rates", date=day), DayRates)


def convert(amount: int, source: str, target: str) -> Call[Conversion]:
    """The value of an amount in the target currency today. No money moves."""
    return get(path("/convert", **{"from": source}, to=target, amount=amount), Conversion)


# Operation


def api_keys(*, page_size: int = PAGE_SIZE) -> Listing[ApiKey]:
    """All API keys in the order of their creation, including revoked keys."""
    return listing(ApiKeys, lambda page: page.keys, "/keys", limit=page_size)


def create_key(new: NewKey) -> Call[MadeKey]:
    """Make an API key. The key is shown this once."""
    return write("POST", "/keys", MadeKey, new, is_repeatable=False)


def revoke_key(id: str) -> Call[ApiKey]:
    """Revoke an API key. All apis reject the key within a second."""
    return write("DELETE", f"/keys/{segment(id)}", ApiKey)


def audits(*, limit: int = 10) -> Call[Runs]:
    """The last runs of the audit, the newest first."""
    return get(path("/audit", limit=limit), Runs)


def drills() -> Call[Drills]:
    """The running drill, and the last drills, with `polka up` alone."""
    return get("/drills", Drills)


def start_drill(target: Target) -> Call[Drills]:
    """Kill a process of a Polka that `polka up` runs, and count the losses."""
    return write("POST", "/drills", Drills, DrillToStart(target), is_repeatable=False)


def hello() -> Call[Front]:
    """The name and the version of the Polka. This call needs no key."""
    return get("/", Front)


# Parts of the calls


def get(path: str, answer: type[T]) -> Call[T]:
    return Call("GET", path, reader(answer))


def write(method: str, path: str, answer: type[T], body: Any = None, is_repeatable: bool = True) -> Call[T]:
    """Without an idempotency key, because only payments have keys."""
    return Call(method, path, reader(answer), encoded(body), is_repeatable=is_repeatable)


def keyed(
    method: str, path: str, answer: type[T], body: Any, key: str | None, headers: Mapping[str, str] | None = None
) -> Call[T]:
    chosen = str(uuid.uuid4()) if key is None else checked_key(key)
    return Call(
        method,
        path,
        reader(answer),
        encoded(body),
        {**(headers or {}), "Idempotency-Key": chosen},
        idempotency_key=chosen,
    )


def listing(answer: type[P], items: Callable[[P], Sequence[T]], where: str, **parameters: Any) -> Listing[T]:
    read = reader(answer)

    def read_page(body: bytes) -> tuple[Sequence[T], str | None]:
        page: Any = read(body)
        return items(page), text_of(page.cursor)

    return Listing(lambda cursor: Call("GET", path(where, **parameters, cursor=cursor), read_page))


def reader(answer: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(answer).decode


def read_outcome(body: bytes) -> Transaction | BulkResult:
    found = msgspec.json.decode(body, type=dict[str, Any])
    if "results" in found:
        return msgspec.convert(found, BulkResult)
    return msgspec.convert(found, Transaction)


def encoded(body: Any) -> bytes | None:
    return None if body is None else msgspec.json.encode(body)


def path(where: str, **parameters: Any) -> str:
    """With the parameters that are not None."""
    query = urlencode({name: text_of(value) for name, value in parameters.items() if value is not None})
    return f"{where}?{query}" if query else where


def text_of(value: Any) -> str | None:
    """A value in the form of a URL's query."""
    if isinstance(value, date):
        return value.isoformat()
    return None if value is None else str(value)


def segment(text: str) -> str:
    """One part of a path. An empty part would name another route.

    Raises:
        ValueError: the text cannot be the name or the id of anything.
    """
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} is no name and no id.")
    return quote(text, safe="")


def change_path(id: str, reason: str | None) -> str:
    return path(f"/transaction/{segment(id)}", reason=reason)


def if_match(version: int | None) -> Mapping[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


def checked_key(key: str) -> str:
    """The idempotency key, if valid: 1 to 255 printable ASCII characters.

    Raises:
        ValueError: the key is invalid.
    """
    if key != key.strip() or not is_idempotency_key(key.encode("utf-8", "surrogatepass")):
        raise ValueError("An idempotency key must be 1 to 255 printable ASCII characters, without spaces around.")
    return key
