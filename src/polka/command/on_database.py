"""Commands on a database: the choice of the database, and a session."""

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from polka.command.options import DATABASE, data_option, database_option
from polka.local import postgres
from polka.service.failure import Failure, NotYetFailure
from polka.store import database
from polka.store.database import Connection

T = TypeVar("T")


def on_database(work: Callable[..., None]) -> Callable[..., None]:
    """A command on the database that its options name: by a URL, or the Postgres of `polka up` by its folder."""

    @data_option("The folder of your `polka up`.", DATABASE)
    @database_option
    @functools.wraps(work)
    def command(data: Path | None, database_url: str | None, **others: Any) -> None:
        source = click.get_current_context().get_parameter_source("database_url")
        if data and source is ParameterSource.COMMANDLINE:
            raise click.UsageError("--data and --database-url name two databases.")
        if database_url and not data:
            return work(database_url=database_url, **others)
        folder = data or postgres.data_folder()
        try:
            return work(database_url=postgres.own_url(folder), **others)
        except NotYetFailure:
            if postgres.is_running(folder):
                raise
            raise Failure(
                f"No Polka of yours runs in {folder}: start it with `polka up`, or say where it is with --data or "
                "--database-url."
            ) from None

    return command


async def with_database(url: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    await database.check(url, allow_lossy=True)
    async with database.session(url) as connection:
        return await work(connection)
