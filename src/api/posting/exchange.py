"""The exchange: what an amount comes to in another currency by the newest rates, or why it is not converted.

Payments are converted by rates in memory, so that none costs a query. These are looked at each second, and serve no
longer once that has failed for some seconds: nothing is paid by rates that are not in force any more.
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
"""From one look at the rates to the next."""
TRUSTED_SECONDS = 10.0
"""How long after a look its rates still serve."""

Side = tuple[str, str]
"""A currency: the field that names it, and its code."""


@asynccontextmanager
async def open_exchange(settings: Settings, writers: Writers) -> AsyncIterator["Exchange"]:
    """An exchange that is kept up to date, and has the newest rates if the database answers."""
    exchange = Exchange(settings, writers)
    await exchange.look()
    async with background(exchange.run()):
        yield exchange


class Exchange:
    """The newest rates in memory, and when they were looked at."""

    def __init__(self, settings: Settings, writers: Writers) -> None:
        self._settings = settings
        self._writers = writers
        self._newest: InForce | None = None
        self._looked_at = -TRUSTED_SECONDS
        self._refreshing: asyncio.Task[None] | None = None

    def convert(self, payment: Payment) -> Converted | Refused | None:
        """What the receiver gets; None where that is simply the amount."""
        if not payment.crosses:
            return None
        if self._newest is None or self.is_outdated:
            return UNRECORDED
        if self._newest.stored is None:
            return NO_RATES
        sides = ("currency", payment.currency), ("receiver_currency", str(payment.receiver_currency))
        return quote(self._newest.stored, self._newest.today, self._settings, payment.amount, *sides)

    async def refresh(self) -> None:
        """Look at the rates now. All who ask at once wait for one look."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self.look())
        await asyncio.shield(self._refreshing)

    @property
    def is_outdated(self) -> bool:
        """Whether the last look is too old, say because this process was not scheduled for a while."""
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
    """What an amount of one currency comes to in another by these rates, the newest."""
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
