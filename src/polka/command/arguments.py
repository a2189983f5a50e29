"""Arguments of commands: banks, accounts and amounts as people write them."""

from collections.abc import Sequence

import click

from polka.client import Party
from polka.rules import money
from polka.rules.transactions import is_account_id, is_bank_name


def bank_of(text: str) -> str:
    if not is_bank_name(text):
        raise click.BadParameter(f"{text!r} is no name of a bank, such as bank1.")
    return text


def party_of(text: str) -> Party:
    bank, _, account = text.rpartition("/")
    if not (is_bank_name(bank) and is_account_id(account)):
        raise click.BadParameter(f"{text!r} is no account such as bank1/ACC1.")
    return Party(bank, account)


def amount_of(words: Sequence[str], least: int = 1) -> tuple[int, str]:
    """The minor units and the currency of an amount in one or two words."""
    try:
        return money.read(" ".join(words), least)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def currency_of(text: str) -> str:
    if not money.is_currency(text):
        raise click.BadParameter(f"ISO 4217 has no currency {text} with minor units.")
    return text
