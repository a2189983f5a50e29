"""Options that several commands have."""

import os
from collections.abc import Callable
from pathlib import Path

import click

from polka.rules import duration

database_option = click.option(
    "--database-url", envvar="POLKA_DATABASE_URL", show_envvar=True, help="Postgres, as postgresql://…"
)


lossy_option = click.option(
    "--allow-lossy-database",
    is_flag=True,
    envvar="POLKA_ALLOW_LOSSY_DATABASE",
    help="For play: take it with fsync off.",
)


no_auth_option = click.option(
    "--no-auth", is_flag=True, envvar="POLKA_NO_AUTH", help="For play: no keys, everybody is an operator."
)


def folder_of(text: str) -> Path:
    """A path from the root, whatever folder we are in, and with `~` for the user's home."""
    if not text:
        raise click.BadParameter("The folder has no name.")
    return Path(os.path.realpath(os.path.expanduser(text)))


def data_option(help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--data", type=folder_of, metavar="FOLDER", help=help)


def seconds_of(text: str) -> float:
    try:
        return duration.read(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def timeout_option(default: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--timeout", default=default, show_default=True, type=seconds_of, metavar="DURATION", help=help)
