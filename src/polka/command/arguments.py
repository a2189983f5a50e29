"""Arguments of commands: banks, accounts and amounts as people write them."""

from collections.abc import Callable, Sequence

import click

from polka.client import Party
from polka.client.calls import checked_key
from polka.client.connection import checked_address
from polka.rules import money
from polka.rules.transactions import is_account_id, is_bank_name


def bank_of(text: str) -> str:
    if not is_bank_name(text):
        raise click.BadParameter(f"{text!r} is not the name of a bank, such as bank1.")
    return text


def party_of(text: str) -> Party:
    bank, _, account = text.rpartition("/")
    if not (is_bank_name(bank) and is_account_id(account)):
        raise click.BadParameter(f"{text!r} is not an account such as bank1/ACC1.")
    return Party(bank, account)


def account_of(text: str) -> str:
    if not is_account_id(text):
        raise click.BadParameter(f"{text!r} is not an account such as ACC1.")
    return text


def key_of(text: str) -> str:
    """An idempotency key. An empty one is an error, because a script with an empty variable would pay again."""
    try:
        return checked_key(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def amount_argument(least: int = 1) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An amount in one or two words. The command gets `amount`: the minor units and the currency."""

    def read(ctx: click.Context, param: click.Parameter, words: Sequence[str]) -> tuple[int, str]:
        try:
            return money.read(" ".join(words), least)
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None

    return click.argument("amount", nargs=-1, required=True, metavar="AMOUNT CURRENCY", callback=read)


def address_of(text: str) -> str:
    try:
        return checked_address(text)
    except ValueError as error:
        raise click.BadParameter(str(error).removeprefix("url: ")) from None


def currency_of(text: str) -> str:
    if not money.is_currency(text):
        raise click.BadParameter(money.unknown(text))
    return text
