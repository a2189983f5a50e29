"""Currencies: which there are (`/currencies`)."""

import msgspec
from litestar import get

from api.access import Needs
from polka.keys import Scope
from polka.money import CURRENCIES, Currency


class Currencies(msgspec.Struct, frozen=True):
    currencies: tuple[Currency, ...]


@get("/currencies", guards=[Needs(Scope.TRANSACTIONS_READ)], sync_to_thread=False)
def list_currencies() -> Currencies:
    """All currencies that a payment may have, by code: those of ISO 4217 with their minor units."""
    return Currencies(CURRENCIES)
