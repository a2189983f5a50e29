"""Options that several commands have."""

import os
from collections.abc import Callable
from pathlib import Path

import click

from polka.command.help import option
from polka.rules import duration

DATABASE, POLKA = "Which database", "Which Polka"
"""Groups of options."""

database_option = option(
    "--database-url",
    envvar="POLKA_DATABASE_URL",
    show_envvar=True,
    metavar="URL",
    group=DATABASE,
    help="A Postgres of your own, as postgresql://…",
)


lossy_option = option(
    "--allow-lossy-database",
    is_flag=True,
    envvar="POLKA_ALLOW_LOSSY_DATABASE",
    group=DATABASE,
    help="For play: accept a database that can lose commits.",
)


no_auth_option = option(
    "--no-auth", is_flag=True, envvar="POLKA_NO_AUTH", help="For play: ask for no keys. Everybody is an operator."
)


def folder_of(text: str) -> Path:
    """A path from the root, whatever folder we are in, and with `~` for the user's home."""
    if not text:
        raise click.BadParameter("The folder has no name.")
    return Path(os.path.realpath(os.path.expanduser(text)))


def data_option(help: str, group: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return option(
        "--data",
        type=folder_of,
        metavar="FOLDER",
        show_default="POLKA_DATA, or the usual folder",
        group=group,
        help=help,
    )


def seconds_of(text: str) -> float:
    try:
        return duration.read(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def timeout_option(default: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return option("--timeout", default=default, show_default=True, type=seconds_of, metavar="DURATION", help=help)
