"""`polka banks`: lists and opens banks, and sets their caps."""

from collections.abc import Sequence

import click

from polka.client import ProblemError
from polka.command.arguments import amount_argument, bank_of, currency_of
from polka.command.asking import asking
from polka.command.help import Command, GroupWithDefault
from polka.command.listing import first, limit_option, say_more
from polka.command.on_polka import on_polka
from polka.command.terminal import say, show_table
from polka.local.presence import Presence
from polka.rules.money import figure, written
from polka.rules.policy import TermsPatch
from polka.rules.transactions import POLKA


@click.group("banks", cls=GroupWithDefault, default="list")
def banks_group() -> None:
    """List banks with their balances, open banks, set caps.

    Without a command, `polka banks` lists the banks.
    """


@banks_group.command("list", cls=Command, examples=["polka banks list", "polka banks list --limit 100"])
@limit_option("banks")
@on_polka
def run_banks_list(limit: int, polka: Presence) -> None:
    """List banks with their balances.

    A balance above zero is money that Polka owes the bank. The bank owes Polka
    a balance below zero. Pending payments are not in the balance yet.
    """
    with asking(polka) as client:
        found, is_more = first(client.banks, limit)
    rows = []
    for bank in found:
        for position in bank.balances:
            pending = "" if position.pending is None else figure(position.pending, position.currency)
            rows.append((bank.name, position.currency, figure(position.posted, position.currency), pending))
        if not bank.balances:
            rows.append((bank.name, "", "", ""))
    show_table(("bank", "currency", "balance", "pending"), rows)
    if not found:
        say("There are no banks: `polka banks open bank1` opens a bank, `polka seed` many.")
    say_more(is_more)


@banks_group.command("open", cls=Command, examples=["polka banks open bank4", "polka banks open alpine harbor meadow"])
@click.argument("names", nargs=-1, required=True, type=bank_of, metavar="BANK...")
@on_polka
def run_banks_open(names: Sequence[str], polka: Presence) -> None:
    """Open banks.

    The accounts of a bank open with their first payments. An open bank stays
    as it is.
    """
    with asking(polka) as client:
        for name in names:
            try:
                client.open_bank(name)
                say(f"{name} is open.")
            except ProblemError as error:
                if error.code != "conflict" or name == POLKA:
                    raise
                say(f"{name} was open before.")


@banks_group.command(
    "cap", cls=Command, examples=["polka banks cap bank1 1000.00 USD", "polka banks cap bank1 100,000 JPY"]
)
@click.argument("bank", type=bank_of, metavar="BANK")
@amount_argument(least=0)
@on_polka
def run_banks_cap(bank: str, amount: tuple[int, str], polka: Presence) -> None:
    """Set the most that a bank may owe in a currency.

    Polka rejects payments from the bank beyond this net debit cap. With a cap
    of 0 the bank may owe nothing.
    """
    cap, currency = amount
    with asking(polka) as client:
        client.change_terms(bank, TermsPatch(caps={currency: cap}))
    say(f"{bank} may owe {written(cap, currency)} at most.")


@banks_group.command("uncap", cls=Command, examples=["polka banks uncap bank1 USD"])
@click.argument("bank", type=bank_of, metavar="BANK")
@click.argument("currency", type=currency_of, metavar="CURRENCY")
@on_polka
def run_banks_uncap(bank: str, currency: str, polka: Presence) -> None:
    """Remove the cap of a bank in a currency."""
    with asking(polka) as client:
        client.change_terms(bank, TermsPatch(caps={currency: None}))
    say(f"{bank} may owe any amount in {currency}.")
