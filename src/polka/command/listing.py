"""`polka payments`, and the shared parts of lists."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar

from polka.client import Transaction
from polka.command.asking import asking
from polka.command.help import command, option
from polka.command.on_polka import on_polka
from polka.command.options import Whole
from polka.command.terminal import say, show_table
from polka.local.presence import Presence
from polka.rules.money import figure
from polka.rules.pages import PAGE_MAX

T = TypeVar("T")

limit_option = option("--limit", default=20, show_default=True, type=Whole(1), metavar="N", help="How many to show.")


@command("payments", "polka payments", "polka payments --bank bank1 --limit 100", "polka payments --ids")
@limit_option
@option("--bank", metavar="NAME", help="Payments from or to this bank.")
@option("--account", metavar="ID", help="Payments from or to this account.")
@option("--ids", is_flag=True, help="Show the id of each payment.")
@on_polka
def run_payments(limit: int, bank: str | None, account: str | None, ids: bool, polka: Presence) -> None:
    """List payments, the newest first.

    Times are UTC.
    """
    with asking(polka) as client:
        found, is_more = first(partial(client.payments, bank=bank, account=account), limit)
    names = ("made", "from", "to", "amount", "currency", "state")
    show_table((*names, "id") if ids else names, (row_of(made, ids) for made in found))
    if not found:
        say("There are no such payments.")
    say_more(is_more)


def first(listing: Callable[..., Iterator[T]], limit: int) -> tuple[list[T], bool]:
    """The first items of a list, and whether there are more."""
    found = list(islice(listing(page_size=min(limit + 1, PAGE_MAX)), limit + 1))
    return found[:limit], len(found) > limit


def row_of(made: Transaction, has_id: bool) -> tuple[str, ...]:
    return (
        f"{made.created_at:%Y-%m-%d %H:%M:%S}",
        f"{made.sender.bank}/{made.sender.account}",
        f"{made.receiver.bank}/{made.receiver.account}",
        figure(made.amount, made.currency),
        made.currency,
        made.status,
        *([made.id] if has_id else []),
    )


def say_more(is_more: bool) -> None:
    if is_more:
        say("There are more. --limit shows more of them.")
