"""`polka keys`: makes, lists and revokes API keys."""

import os
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import click

from polka.command.on_database import on_database, with_database
from polka.command.running import run
from polka.command.terminal import say, show_table
from polka.rules.keys import DEFAULT_SCOPES, ApiKey, NewKey, Scope, is_key
from polka.rules.transactions import is_bank_name
from polka.service.failure import Failure
from polka.store import api_keys
from polka.store.api_keys import NotMade


@click.group("keys")
def keys_group() -> None:
    """API keys: who may call the api, and what for."""


@keys_group.command("create")
@click.option("--name", required=True, help="For people, to tell keys apart.")
@click.option("--bank", help="The bank that it acts for; without one it is an operator's.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    default=[scope.value for scope in DEFAULT_SCOPES],
    show_default=True,
    help="What it may do; may be repeated.",
)
@click.option("--expires-at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="As 2027-01-31T12:00:00Z.")
@click.option(
    "--key",
    default=lambda: os.environ.get("POLKA_NEW_KEY"),
    show_default="POLKA_NEW_KEY, or a new one",
    help="A key made elsewhere, which is not printed: polka_ and 40 hexadecimal digits.",
)
@on_database
def run_keys_create(
    name: str,
    bank: str | None,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
    key: str | None,
    database_url: str,
) -> None:
    """Make a key and print it: only its hash is kept. One made elsewhere is stored once, however often it is given."""
    if not is_bank_name(name):
        raise Failure("A key's name is 1 to 64 letters, digits, spaces, dots, hyphens or underscores.")
    new = NewKey(name, bank, tuple(Scope(scope) for scope in scopes), expires_at)
    if refused := new.refused_scopes():
        raise Failure(f"A bank's key cannot have the scope {refused[0]}.")
    if key is not None and not is_key(key):
        raise Failure("A key, in --key or POLKA_NEW_KEY, is polka_ and 40 hexadecimal digits in lower case.")
    stored = key or api_keys.new_key()
    made = run(with_database(database_url, lambda connection: api_keys.create(connection, stored, new)))
    if made is NotMade.UNKNOWN_BANK:
        raise Failure(f"There is no bank {bank}.")
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
    expires = f", until {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else ""
    return f"Key {key.id} for {key.bank or 'operators'}: {', '.join(key.scopes)}{expires}"


@keys_group.command("list")
@on_database
def run_keys_list(database_url: str) -> None:
    """All keys, the revoked ones too."""
    show_keys(run(with_database(database_url, api_keys.listed)))


@keys_group.command("revoke")
@click.argument("id")
@on_database
def run_keys_revoke(id: str, database_url: str) -> None:
    """Have a key refused, by every api within a second."""
    try:
        wanted = UUID(id)
    except ValueError:
        raise Failure("A key's id is as `polka keys list` shows it.") from None
    revoked = run(with_database(database_url, lambda connection: api_keys.revoke(connection, wanted)))
    if revoked is None:
        raise Failure(f"There is no key with the id {wanted}.")
    say(f"Key {revoked.id}, {revoked.name}, is revoked.")


def show_keys(keys: Iterable[ApiKey]) -> None:
    rows = []
    for key in keys:
        times = (key.created_at, key.expires_at, key.last_used_at, key.revoked_at)
        shown = (f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in times)
        rows.append((key.id, key.name, key.bank or "-", " ".join(key.scopes), *shown))
    show_table(("id", "name", "bank", "scopes", "made", "expires", "last used", "revoked"), rows)
