"""Arguments of commands: banks, accounts, amounts and texts as people write them."""

from collections.abc import Sequence

import click

from polka.client import Party
from polka.client.calls import checked_key
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


def key_of(text: str) -> str:
    """An idempotency key. An empty one is an error, because a script with an empty variable would pay again."""
    try:
        return checked_key(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def text_of(text: str) -> str:
    """Free text. Python reads other bytes than UTF-8 as characters that no text can have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise click.BadParameter("The text is not UTF-8.") from None
    return text


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
