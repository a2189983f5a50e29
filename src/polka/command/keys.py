"""`polka keys`: makes, lists and revokes API keys."""

import os
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import click

from polka.command.asking import BANKS_ADVICE
from polka.command.help import Command, Group, option
from polka.command.on_database import on_database, with_database
from polka.command.running import run
from polka.command.terminal import say, show_record
from polka.rules.keys import DEFAULT_SCOPES, ApiKey, NewKey, Scope, is_key
from polka.rules.transactions import is_bank_name
from polka.service.failure import Failure
from polka.store import api_keys
from polka.store.api_keys import NotMade

WHO = "What the key may do"
"""A group of options."""
EXAMPLE_TIME = "2027-01-31T12:00:00Z"


def time_of(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        raise click.BadParameter(f"must be a time with its zone, as {EXAMPLE_TIME}.") from None


@click.group("keys", cls=Group)
def keys_group() -> None:
    """Make, list and revoke API keys."""


@keys_group.command(
    "create",
    cls=Command,
    examples=[
        "polka keys create --name till-7 --bank bank1",
        "polka keys create --name anna --operator",
        "polka keys create --name reports --scope transactions:read",
    ],
)
@option("--name", required=True, help="A name for people, to tell keys apart.")
@option("--bank", group=WHO, help="The bank that the key acts for. Other keys are operators'.")
@option("--operator", is_flag=True, group=WHO, help="All scopes, for an operator.")
@option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    metavar="SCOPE",
    group=WHO,
    show_default="transactions:write and transactions:read",
    help=f"One of {', '.join(scope.value for scope in Scope)}. May be repeated.",
)
@option(
    "--expires-at",
    type=time_of,
    metavar="TIME",
    help=f"The end of the key, as {EXAMPLE_TIME}.",
)
@option(
    "--key",
    default=lambda: os.environ.get("POLKA_NEW_KEY"),
    metavar="KEY",
    show_default="POLKA_NEW_KEY, or a new one",
    help="A key from elsewhere: polka_ and 40 hexadecimal digits. It is not printed.",
)
@on_database
def run_keys_create(
    name: str,
    bank: str | None,
    operator: bool,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
    key: str | None,
    database_url: str,
) -> None:
    """Make a key and print it once.

    Polka stores a hash of the key. A key from elsewhere is stored once, however often you give the key.
    """
    if operator and (scopes or bank):
        raise click.UsageError("--operator gives all scopes to an operator: leave out --scope and --bank.")
    if not is_bank_name(name):
        raise Failure("A key's name is 1 to 64 letters, digits, spaces, dots, hyphens or underscores.")
    granted = tuple(Scope) if operator else tuple(map(Scope, scopes)) or DEFAULT_SCOPES
    new = NewKey(name, bank, granted, expires_at)
    if refused := new.refused_scopes():
        raise Failure(f"A bank's key cannot have the scope {refused[0]}.")
    if key is not None and not is_key(key):
        raise Failure("A key, in --key or POLKA_NEW_KEY, is polka_ and 40 hexadecimal digits in lower case.")
    stored = key or api_keys.new_key()
    made = run(with_database(database_url, lambda connection: api_keys.create(connection, stored, new)))
    if made is NotMade.UNKNOWN_BANK:
        raise Failure(f"There is no bank {bank}. {BANKS_ADVICE}")
    if made is NotMade.EXPIRED:
        raise Failure("--expires-at: must be in the future.")
    if isinstance(made, NotMade):
        found = run(with_database(database_url, lambda connection: api_keys.find(connection, stored)))
        if found is None:
            raise Failure("The key was not made.")
        state = "It was revoked, and stays so" if found.revoked_at else "It was there before, and stays as it is"
        say(f"{described(found)}. {state}.")
    elif key:
        say(f"{described(made)}.")
    else:
        click.echo(f"{described(made)}. Shown this once:", err=True)
        click.echo(stored)


def described(key: ApiKey) -> str:
    expires = f", until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
    return f"Key {key.id} for {key.bank or 'operators'}: {', '.join(key.scopes)}{expires}"


def may(key: ApiKey) -> str:
    """The rights of the key, in short."""
    return "all scopes" if set(key.scopes) == {scope.value for scope in Scope} else ", ".join(key.scopes)


@keys_group.command("list", cls=Command, examples=["polka keys list"])
@on_database
def run_keys_list(database_url: str) -> None:
    """List all keys, also revoked ones."""
    keys = run(with_database(database_url, api_keys.listed))
    show_keys(keys)
    if not keys:
        say("There are no keys: `polka keys create` makes a key.")


@keys_group.command("revoke", cls=Command, examples=["polka keys revoke 01a22be7-950e-70c1-be7b-c1f634a11faa"])
@click.argument("id")
@on_database
def run_keys_revoke(id: str, database_url: str) -> None:
    """Revoke a key: every api rejects the key within a second."""
    try:
        wanted = UUID(id)
    except ValueError:
        raise Failure("This is not the id of a key: `polka keys list` shows the ids.") from None
    revoked = run(with_database(database_url, lambda connection: api_keys.revoke(connection, wanted)))
    if revoked is None:
        raise Failure(f"There is no key with the id {wanted}.")
    say(f"Key {revoked.id}, {revoked.name}, is revoked.")


def show_keys(keys: Iterable[ApiKey]) -> None:
    """Show each key in two lines, which fit into 80 columns."""
    for key in keys:
        times = (
            ("made", key.created_at),
            ("expires", key.expires_at),
            ("last used", key.last_used_at),
            ("revoked", key.revoked_at),
        )
        show_record(
            (key.id, key.name, f"bank {key.bank}" if key.bank else "operators"),
            (may(key), *(f"{event} {at:%Y-%m-%d %H:%M} UTC" for event, at in times if at)),
        )
