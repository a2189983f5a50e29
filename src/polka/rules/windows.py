"""Clearing windows: open → closed → settled, once each. Pure: the next step, and the entries of a settlement."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from polka.rules.formats import Id, Time
from polka.rules.netting import Netting
from polka.rules.pages import OLDER_CURSOR
from polka.rules.transactions import POLKA, Entry

SETTLEMENT = "settlement"
"""Polka's own account for the other side of every settlement entry."""
SETTLED_BY_POLKA = "polka:settlement"
"""The account at each bank for its settlements. No client can name an account with a colon."""

WindowId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1, description="A clearing window; they count from 1.")]


class WindowToClose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request names the window, so a repeated request closes the window once."""

    window: WindowId


class Window(msgspec.Struct, frozen=True):
    """`flush` is the latest flush of the window's payments. `settlement` is the batch of the settlement, if any net was
    not zero. `scheduled_for` is the scheduled time of the close, if no request closed the window. `interest_batch` is
    the batch of the booked interest, if there was any."""

    id: int
    state: Literal["open", "closed", "settled"]
    opened_at: Time
    closed_at: Time | None
    settled_at: Time | None
    flush: int | None
    settlement: Id | None
    scheduled_for: Time | None = None
    interest_batch: Id | None = None


class Windows(msgspec.Struct, frozen=True):
    """A page of windows, the newest first. `cursor` is null on the last page."""

    windows: list[Window]
    cursor: int | None
    next: Annotated[int | None, OLDER_CURSOR]


class Total(msgspec.Struct, frozen=True):
    """The totals of a bank in a currency, in minor units.

    `count` counts entries, `net` is credits less debits. `fees` are the paid fees less the fees returned by reversals.
    `interest` is earned (> 0) or paid (< 0) interest."""

    bank: str
    currency: str
    debits: int
    credits: int
    count: int
    fees: int
    interest: int
    net: int


class Report(Window, frozen=True, kw_only=True):
    """A window with its totals by bank and currency. `netting` is None until the computation soon after the closing."""

    totals: list[Total]
    netting: list[Netting] | None


class Conflict(msgspec.Struct, frozen=True):
    """A step that the window's state does not allow, in words."""

    detail: str


def refused_closing(window: int, open_window: int) -> Conflict | None:
    """Why the window cannot be closed. To close a closed window again is no error."""
    if window > open_window:
        return Conflict(f"window: there is no window {window} yet; window {open_window} is open.")
    return None


def refused_settling(window: Window) -> Conflict | None:
    """Why the window cannot be settled. To settle a settled window again is no error."""
    if window.state == "open":
        return Conflict(f"Window {window.id} is open: it is settled once it is closed.")
    return None


def settlement_entries(nets: Iterable[tuple[str, str, int]]) -> list[Entry]:
    """The entries that bring each net of a bank in a currency to zero: an entry of the bank, and Polka's opposite
    entry."""
    entries: list[Entry] = []
    for bank, currency, net in nets:
        if net:
            entries += [(bank, SETTLED_BY_POLKA, currency, -net), (POLKA, SETTLEMENT, currency, net)]
    return entries
