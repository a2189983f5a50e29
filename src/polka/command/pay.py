"""`polka pay`: one payment."""

import shlex
import sys
import uuid

import click
from msgspec import UNSET
from rich.markup import escape

from polka.client import Client, OutcomeUnknownError, Party, Payment, ProblemError, Transaction
from polka.command import errors
from polka.command.arguments import amount_argument, currency_of, key_of, party_of
from polka.command.asking import asking, reason
from polka.command.help import command, option
from polka.command.on_polka import on_polka
from polka.command.terminal import printable, say
from polka.local.presence import Presence
from polka.rules import money
from polka.service.failure import Failure

UNKNOWN = 75
"""The exit code if the outcome is unknown: the payment may be made. It is EX_TEMPFAIL of sysexits.h."""
INTERRUPTED = 130
FINAL = (409, 422)
"""The statuses of rejections that are stored under their idempotency key."""
KEY_REUSED, SAME_ACCOUNT = "key_reused", "same_account"
"""Codes with these statuses that are not stored: for the key of another payment, and for a payment to its sender."""


@command(
    "pay",
    "polka pay bank1/ACC1 bank2/ACC1 12.50 USD",
    "polka pay bank1/ACC1 bank2/ACC1 1,250 JPY --reference 'Rent, March'",
    "polka pay bank1/ACC1 bank2/ACC1 12.50 EUR --receiver-currency JPY",
)
@click.argument("sender", type=party_of, metavar="SENDER")
@click.argument("receiver", type=party_of, metavar="RECEIVER")
@amount_argument()
@option("--reference", metavar="TEXT", help="Free text, which both banks see.")
@option(
    "--receiver-currency",
    type=currency_of,
    metavar="CODE",
    help="The currency that the receiver gets, if it is another one.",
)
@option(
    "--idempotency-key",
    type=key_of,
    metavar="KEY",
    show_default="a new one",
    help="The key of an earlier attempt. The same payment with the same key is made once.",
)
@on_polka
def run_pay(
    sender: Party,
    receiver: Party,
    amount: tuple[int, str],
    reference: str | None,
    receiver_currency: str | None,
    idempotency_key: str | None,
    polka: Presence,
) -> None:
    """Make one payment.

    SENDER and RECEIVER are a bank and an account, as bank1/ACC1. An account opens
    with its first payment, so a mistyped account id is a new account. The command
    prints the idempotency key first. While the outcome is unknown, the command
    sends the payment again with this key. Exit codes: 0 paid, 1 rejected,
    75 the outcome is still unknown.
    """
    payment = Payment(sender, receiver, *amount, reference, receiver_currency or UNSET)
    key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
    say(f"Idempotency key: {escape(printable(key))}")
    with asking(polka) as client:
        is_old = idempotency_key is not None and has_answer(client, key)
        try:
            show_paid(paid(client, payment, key))
        except ProblemError as error:
            if idempotency_key is None or error.status not in FINAL or error.code == SAME_ACCOUNT:
                raise
            raise Failure(final(error, polka, key, is_old)) from None
    if is_old:
        say(f"The idempotency key {escape(printable(key))} had paid this before. Nothing was paid again.")


def has_answer(client: Client, key: str) -> bool:
    """Whether an earlier payment with this idempotency key was made, or was rejected for good."""
    try:
        client.outcome(key)
    except ProblemError as error:
        return error.status in FINAL
    return True


def paid(client: Client, payment: Payment, key: str) -> Transaction:
    """The payment, once it is made. Without a certain answer the command ends, and says how to go on."""
    try:
        return client.pay(payment, idempotency_key=key)
    except (OutcomeUnknownError, KeyboardInterrupt) as error:
        errors.say(
            "Error: The payment may or may not be made. Run the same command again with this key, "
            f"and the payment is made once:\n  --idempotency-key {shlex.quote(key)}"
        )
        sys.exit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else UNKNOWN)


def final(error: ProblemError, polka: Presence, key: str, is_old: bool) -> str:
    """Why Polka has rejected a payment, for a user with a key of an earlier attempt, and how to try again."""
    if error.code == KEY_REUSED:
        said = f"The idempotency key {key} belongs to another payment."
    elif is_old:
        said = f"The idempotency key {key} got this answer before: {reason(error, polka)}"
    else:
        said = f"{reason(error, polka)}\nThe idempotency key {key} keeps this first answer."
    return f"{said} To try again, leave out --idempotency-key or change the key."


def show_paid(made: Transaction) -> None:
    sender, receiver = (f"{party.bank}/{party.account}" for party in (made.sender, made.receiver))
    say(f"Paid {money.written(made.amount, made.currency)} from {sender} to {receiver}.")
    if made.converted:
        gets = money.written(made.converted.amount, made.converted.currency)
        say(f"The receiver gets {gets}, at {made.rate} of {made.rate_date}.")
    if isinstance(made.fee, int):
        say(f"The fee is {money.written(made.fee, made.currency)}.")
    say(f"Id {made.id}")
