"""`polka payments`, and the shared parts of lists."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from polka.client import Client, ProblemError, Transaction
from polka.command.arguments import account_of, bank_of
from polka.command.asking import FORBIDDEN, asking
from polka.command.help import command, option
from polka.command.on_polka import on_polka
from polka.command.options import Whole
from polka.command.terminal import say, show_table, time_of
from polka.local.presence import Presence
from polka.rules.money import figure, written
from polka.rules.pages import PAGE_MAX
from polka.service.failure import Failure

T = TypeVar("T")


def limit_option(things: str) -> Callable[..., Any]:
    """The option for the number of shown things, as `banks`."""
    text = f"How many {things} to show."
    return option("--limit", default=20, show_default=True, type=Whole(1), metavar="N", help=text)


@command("payments", "polka payments", "polka payments --bank bank1 --limit 100", "polka payments --ids")
@limit_option("payments")
@option("--bank", type=bank_of, metavar="NAME", help="Payments from or to this bank.")
@option("--account", type=account_of, metavar="ID", help="Payments from or to this account.")
@option("--ids", is_flag=True, help="Show the id of each payment.")
@on_polka
def run_payments(limit: int, bank: str | None, account: str | None, ids: bool, polka: Presence) -> None:
    """List payments, the newest first."""
    with asking(polka) as client:
        found, is_more = first(partial(client.payments, bank=bank, account=account), limit)
        if bank and not found:
            check_exists(client, bank, account)
    crosses = any(made.converted for made in found)
    names = ("made (UTC)", "from", "to", "amount", "currency", *["receiver gets"] * crosses, "state", *["id"] * ids)
    show_table(names, (row_of(made, crosses, ids) for made in found))
    if not found:
        say("There are no such payments.")
    say_more(is_more)


def check_exists(client: Client, bank: str, account: str | None) -> None:
    """Check that there is a bank of this name with this account, if the key may see the bank.

    Raises:
        ProblemError: there is no such bank.
        Failure: the bank has no such account.
    """
    try:
        if account is None:
            client.bank(bank)
        elif not any(client.accounts(bank, account=account)):
            raise Failure(f"{bank} has no account {account}. An account opens with its first payment.")
    except ProblemError as error:
        if error.status != FORBIDDEN:
            raise


def first(listing: Callable[..., Iterator[T]], limit: int) -> tuple[list[T], bool]:
    """The first items of a list, and whether there are more."""
    found = list(islice(listing(page_size=min(limit + 1, PAGE_MAX)), limit + 1))
    return found[:limit], len(found) > limit


def row_of(made: Transaction, has_converted: bool, has_id: bool) -> tuple[str, ...]:
    converted = written(made.converted.amount, made.converted.currency) if made.converted else ""
    return (
        time_of(made.created_at),
        f"{made.sender.bank}/{made.sender.account}",
        f"{made.receiver.bank}/{made.receiver.account}",
        figure(made.amount, made.currency),
        made.currency,
        *[converted] * has_converted,
        made.status,
        *[made.id] * has_id,
    )


def say_more(is_more: bool) -> None:
    if is_more:
        say("There are more. --limit shows more of them.")
