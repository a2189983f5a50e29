"""The memory of a started cache, and how a committed flush or window gets into memory."""

import logging
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import uuid_utils

from cache import metrics
from cache.clearing import windows
from cache.clearing.schedule import Schedule
from cache.keeping.announced import Announced
from cache.keeping.orders import Orders
from cache.ledger.flush import Flushed
from cache.ledger.ledger import Ledger, Posted
from polka.rules.banks import AsOf
from polka.rules.liquidity import Sample
from polka.rules.windows import Window

log = logging.getLogger(__name__)


class Service:
    """The memory of a started cache: the epoch, the ledger, the time of the last flush, and further duties.

    `liquidity` has the newest sample of a day for each currency. `unsettled` has the windows that the schedule has
    closed and nobody has settled yet.
    """

    def __init__(
        self,
        epoch: int,
        ledger: Ledger,
        liquidity: dict[str, Sample],
        as_of: datetime,
        schedule: Schedule,
        unsettled: Iterable[int],
        announced: Announced,
    ) -> None:
        self.epoch = epoch
        self.ledger = ledger
        self.liquidity = liquidity
        self.as_of = as_of
        self.schedule = schedule
        self.unsettled = deque(unsettled)
        self.announced = announced
        self.orders = Orders()


def absorb(service: Service, flushed: Flushed) -> None:
    """Move a committed flush into memory. The function has no `await`, so no reader sees half of a flush."""
    service.ledger.absorb(flushed.number, flushed.posted)
    for batch in flushed.aside:
        keep_aside(service, batch)
    service.liquidity.update(flushed.liquidity)
    service.as_of = flushed.at
    metrics.FLUSHES.inc()
    metrics.POSTED.inc(len(flushed.posted))
    if flushed.posted and log.isEnabledFor(logging.DEBUG):
        posted = [str(batch.id) for batch in flushed.posted]
        log.debug("a flush posted %d batches", len(posted), extra={"flush": flushed.number, "posted": posted})


def absorb_step(service: Service, done: windows.Done) -> Window:
    """Move the postings of a closed or settled window into memory. Returns the window."""
    if done.flushed:
        absorb(service, done.flushed)
    return done.window


def keep_aside(service: Service, batch: Posted) -> None:
    """A set aside batch stays pending, because its room is not free."""
    service.ledger.keep_aside(batch.id, batch.entries or service.ledger.pending.get(batch.id, ()))
    metrics.ASIDE.inc()
    log.error("a batch is set aside: its row cannot be posted", extra={"batch": str(batch.id)})


def next_batch(service: Service) -> tuple[int, UUID]:
    """The number of the next flush, and a new id, for a batch that the cache itself posts."""
    return service.ledger.flush + 1, UUID(str(uuid_utils.uuid7()))


def as_of(service: Service) -> AsOf:
    return AsOf(service.ledger.flush, service.as_of)
