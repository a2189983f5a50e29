"""Commands that ask an api: the choice of the Polka, and the key.

A key from a Polka's folder goes to that Polka alone, and only while its `polka up` holds the address. For every other
address somebody has to give a key.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from polka.command.arguments import address_of
from polka.command.help import option
from polka.command.options import POLKA, data_option
from polka.local import postgres, presence
from polka.local.presence import Presence
from polka.service.failure import Failure

URL = "http://127.0.0.1:8000"
"""The address if somebody gives a key and no address."""


def on_polka(work: Callable[..., None]) -> Callable[..., None]:
    """A command on the Polka that its options name. The command gets `polka`, with the address and the key."""

    @address_options
    @functools.wraps(work)
    def command(url: str | None, key: str | None, data: Path | None, **others: Any) -> None:
        work(polka=polka_of(url, key, data), **others)

    return command


def address_options(work: Callable[..., None]) -> Callable[..., None]:
    """The options for a Polka and its key."""
    for add in (
        data_option("The folder of your `polka up`.", POLKA),
        option(
            "--key",
            envvar="POLKA_KEY",
            show_envvar=True,
            show_default="the key of your `polka up`",
            metavar="KEY",
            group=POLKA,
            help="An API key, polka_….",
        ),
        option(
            "--url",
            envvar="POLKA_URL",
            show_envvar=True,
            show_default="the address of your `polka up`",
            type=address_of,
            metavar="URL",
            group=POLKA,
            help="The address of a Polka.",
        ),
    ):
        work = add(work)
    return work


def polka_of(url: str | None, key: str | None, data: Path | None = None) -> Presence:
    """The Polka that the options mean.

    Raises:
        click.UsageError: the options name two.
        Failure: the options name none, and none runs.
    """
    if data and url is not None:
        if click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--data and --url name two Polkas.")
        url = None
    if url is not None and key is not None:
        return Presence(url, key)
    if url is not None:
        return local_at(url) or Presence(url)
    if key is not None and data is None:
        local = usual()
        return Presence(local.url, key, folder=local.folder) if local else Presence(URL, key)
    folder = data or postgres.data_folder()
    local = presence.find(folder)
    if local is None:
        raise Failure(
            f"No Polka of yours runs in {folder}: start it with `polka up`, or say where it is with --data or --url."
        )
    return local if key is None else Presence(local.url, key, folder=local.folder)


def local_at(url: str) -> Presence | None:
    """Our own Polka, if this is exactly its address. A name like localhost may lead to another process."""
    local = usual()
    return local if local and local.url == url.rstrip("/") else None


def usual() -> Presence | None:
    """The Polka of the usual folder; None where there is none, as in a container whose user has no home."""
    try:
        return presence.find(postgres.data_folder())
    except Failure:
        return None
