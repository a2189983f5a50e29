"""A bank's terms (caps, suspension, fees and interest), and the policy: the terms of all banks.

Each change of a bank's terms makes a new version of the policy, one number for all banks.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from polka.rules.money import AMOUNT_MAX, is_currency
from polka.rules.transactions import Entry

T = TypeVar("T")

BASIS_POINTS = 10_000
"""A whole."""
INTEREST_BASIS_POINTS_MAX = 100_000

MinorUnits = Annotated[int, msgspec.Meta(ge=0, le=AMOUNT_MAX)]
InterestRate = Annotated[int, msgspec.Meta(ge=0, le=INTEREST_BASIS_POINTS_MAX, description="Basis points a year.")]
Suspended = Literal["no", "sending", "both"]
"""`sending`: the bank may receive, but not send. `both`: the bank may do neither."""


class Fee(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fee for the sender of a payment, in minor units of its currency: `fixed`, and basis points of the amount."""

    fixed: MinorUnits = 0
    basis_points: Annotated[int, msgspec.Meta(ge=0, le=BASIS_POINTS)] = 0
    minimum: MinorUnits = 0
    maximum: MinorUnits | None = None

    def __post_init__(self) -> None:
        if self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("Minimum must be at most the maximum")


class Interest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interest that a bank pays for its debt (`debit`), and earns for its credit (`credit`)."""

    debit_basis_points: InterestRate = 0
    credit_basis_points: InterestRate = 0


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """The terms of a bank, by currency but for the suspension. A cap is the most that the bank may owe."""

    caps: dict[str, MinorUnits] = {}
    suspended: Suspended = "no"
    fees: dict[str, Fee] = {}
    interest: dict[str, Interest] = {}


class InterestPatch(msgspec.Struct, frozen=True):
    """A change of the interest in a currency."""

    debit_basis_points: InterestRate | UnsetType | None = UNSET
    credit_basis_points: InterestRate | UnsetType | None = UNSET


class TermsPatch(msgspec.Struct, frozen=True):
    """A change of a bank's terms, as a JSON Merge Patch (RFC 7396): null removes a term."""

    caps: dict[str, MinorUnits | None] | UnsetType | None = UNSET
    suspended: Suspended | UnsetType | None = UNSET
    fees: dict[str, Fee | None] | UnsetType | None = UNSET
    interest: dict[str, InterestPatch | None] | UnsetType | None = UNSET


DEFAULT = Terms()
"""The terms of a bank without agreed terms."""


class Agreed(msgspec.Struct, frozen=True):
    """A bank's terms, their version of the policy (0 without terms), and the time since which they are in force."""

    terms: Terms
    version: int
    since: datetime | None


NOTHING_AGREED = Agreed(DEFAULT, 0, None)


Caps = Mapping[str, Mapping[str, int]]
"""The most that a bank may owe, in minor units, by bank and currency, of banks with a cap."""

Nets = dict[tuple[str, str], int]
"""Credits less debits, in minor units, by bank and currency."""


class Policy(msgspec.Struct, frozen=True):
    """The terms of all banks whose terms were ever changed, in this version. `caps` are the caps in these terms."""

    version: int
    banks: Mapping[str, Agreed] = {}
    caps: Caps = {}

    def __post_init__(self) -> None:
        caps = {bank: agreed.terms.caps for bank, agreed in self.banks.items() if agreed.terms.caps}
        msgspec.structs.force_setattr(self, "caps", caps)

    def agreed(self, bank: str) -> Agreed:
        return self.banks.get(bank, NOTHING_AGREED)

    def terms(self, bank: str) -> Terms:
        return self.agreed(bank).terms


def capped_nets(entries: Iterable[Entry], caps: Caps) -> Nets:
    """The change of each capped balance by all entries together."""
    nets: Nets = {}
    if caps:
        for bank, _, currency, amount in entries:
            if bank in caps and currency in caps[bank]:
                nets[bank, currency] = nets.get((bank, currency), 0) + amount
    return nets


def falls(nets: Nets) -> Nets:
    """The nets that lower a balance."""
    return {key: net for key, net in nets.items() if net < 0}


class TermsError(ValueError):
    """Invalid terms: the fact, and its place, as `fees.USD`."""

    def __init__(self, fact: str, place: str) -> None:
        super().__init__(f"{place}: {fact}")
        self.fact = fact
        self.place = place


def amended(terms: Terms, patch: Mapping[str, Any]) -> Terms:
    """The terms after the merge patch.

    Raises:
        TermsError: the patch names an unknown term, or makes invalid terms.
    """
    for name in patch:
        if name not in TermsPatch.__struct_fields__:
            raise TermsError(f"Object contains unknown field `{name}`", "")
    document = merged(msgspec.to_builtins(terms), patch)
    return Terms(
        by_currency(document, "caps", MinorUnits),
        checked(document.get("suspended", "no"), Suspended, "suspended"),
        by_currency(document, "fees", Fee),
        by_currency(document, "interest", Interest),
    )


def merged(target: Any, patch: Any) -> Any:
    """The target with the patch applied, by RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def by_currency(document: Mapping[str, Any], name: str, kind: Any) -> dict[str, Any]:
    found = checked(document.get(name, {}), dict[str, Any], name)
    for currency in found:
        if not is_currency(currency):
            raise TermsError("Is no currency of ISO 4217 that has minor units", f"{name}.{currency}")
    return {currency: checked(found[currency], kind, f"{name}.{currency}") for currency in sorted(found)}


def checked(value: Any, kind: Any, place: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        fact, _, within = str(error).partition(" - at `$")
        raise TermsError(fact, place + within.rstrip("`")) from None
