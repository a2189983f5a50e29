"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from polka.command.help import option
from polka.local import private
from polka.rules import duration
from polka.rules.ranges import Range

DATABASE, POLKA = "Which database", "Which Polka"
"""Groups of options."""


class Whole(click.IntRange):
    """A whole number. Errors and help texts name its range in words."""

    def __init__(self, least: int, most: int = 1_000_000_000) -> None:
        super().__init__(least, most)
        self.range = Range(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"must be a whole number, {self.range}.", param, ctx)

    def _describe_range(self) -> str:
        return str(self.range)


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
    if not text:
        raise click.BadParameter("The folder has no name.")
    return private.whole_path(text)


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
