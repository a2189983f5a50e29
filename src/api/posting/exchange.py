"""The exchange converts amounts by the newest rates, or refuses the conversion.

Rates are kept in memory, so a conversion costs no query. The api reads the rates each second. After some seconds
without a successful read it refuses conversions, because the rates may no longer be in force.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

from api.http.refusals import NO_RATES, UNRECORDED, Refusal, Refused
from api.settings import Settings
from polka.rules.money import AMOUNT_MAX
from polka.rules.rates import Converted, StoredRates, converted, is_stale
from polka.rules.transactions import Payment
from polka.service.background import background
from polka.store import database, rate_sets
from polka.store.rate_sets import InForce
from polka.store.writers import Writers

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two reads of the rates."""
TRUSTED_SECONDS = 10.0
"""The time after a read during which its rates are used."""

Side = tuple[str, str]
"""A currency: the name of its field, and its code."""


@asynccontextmanager
async def open_exchange(settings: Settings, writers: Writers) -> AsyncIterator["Exchange"]:
    """An exchange that follows the rates. It starts with the newest rates if the database is available."""
    exchange = Exchange(settings, writers)
    await exchange.look()
    async with background(exchange.run()):
        yield exchange


class Exchange:
    """The newest rates in memory, and the time of their last read."""

    def __init__(self, settings: Settings, writers: Writers) -> None:
        self._settings = settings
        self._writers = writers
        self._newest: InForce | None = None
        self._looked_at = -TRUSTED_SECONDS
        self._refreshing: asyncio.Task[None] | None = None

    def convert(self, payment: Payment) -> Converted | Refused | None:
        """The receiver's amount; None if both sides have the same currency."""
        if not payment.crosses:
            return None
        if self._newest is None or self.is_outdated:
            return UNRECORDED
        if self._newest.stored is None:
            return NO_RATES
        sides = ("currency", payment.currency), ("receiver_currency", str(payment.receiver_currency))
        return quote(self._newest.stored, self._newest.today, self._settings, payment.amount, *sides)

    async def refresh(self) -> None:
        """Read the rates now. Concurrent calls share one read."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self.look())
        await asyncio.shield(self._refreshing)

    @property
    def is_outdated(self) -> bool:
        """Whether the last read is too old, for example because this process was not scheduled."""
        return time.monotonic() > self._looked_at + TRUSTED_SECONDS

    async def run(self) -> None:
        """Follow the rates until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        began = time.monotonic()
        try:
            self._newest = await self._writers.do(rate_sets.in_force)
        except database.ERRORS as error:
            database.report(log, "the exchange rates could not be read", error)
        else:
            self._looked_at = began


def quote(
    stored: StoredRates, today: date, settings: Settings, amount: int, source: Side, target: Side
) -> Converted | Refused:
    """An amount of one currency in another currency by these rates, the newest."""
    for field, currency in (source, target):
        if not stored.rates.has(currency):
            return Refused(
                Refusal.NO_RATE, f"{field}: the rates of {stored.rates.date} have none of {currency}.", field
            )
    limit = settings.rates_age_limit_days
    if is_stale(stored, today, limit, settings.rates_recorded):
        detail = f"The newest rates are of {stored.rates.date}, more than {limit} days ago."
        return Refused(Refusal.RATES_STALE, detail)
    found = converted(amount, source[1], target[1], stored)
    if not found.amount:
        detail = f"amount: comes to less than the smallest unit of {found.currency}."
        return Refused(Refusal.AMOUNT_TOO_SMALL, detail, "amount")
    if found.amount > AMOUNT_MAX:
        detail = f"amount: comes to {found.amount} {found.currency}, more than {AMOUNT_MAX}."
        return Refused(Refusal.AMOUNT_TOO_LARGE, detail, "amount")
    return found
