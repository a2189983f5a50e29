"""`polka up`: everything on this machine."""

import asyncio
import shlex
import sys
from pathlib import Path

import click
from rich.markup import escape

from polka.command.on_database import with_database
from polka.command.options import data_option, database_option, lossy_option, no_auth_option
from polka.command.running import run
from polka.command.show import show
from polka.command.terminal import say
from polka.local import postgres, private
from polka.local.console_key import console_key, console_url
from polka.local.up import Layout, Running, up
from polka.store import api_keys


@click.command("up")
@click.option("--apis", default=2, show_default=True, type=click.IntRange(1, 64), help="Api processes.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Where clients connect.")
@click.option(
    "--cache-port",
    type=click.IntRange(1, 65535),
    show_default="8100, or any free one",
    help="Where the cache listens.",
)
@data_option("Folder of Polka's own Postgres.")
@database_option
@lossy_option
@no_auth_option
def run_up(
    apis: int,
    port: int,
    cache_port: int | None,
    data: Path | None,
    database_url: str | None,
    allow_lossy_database: bool,
    no_auth: bool,
) -> None:
    """Everything on this machine: Postgres, the cache and several apis behind one port."""
    folder = data or postgres.data_folder()
    layout = Layout(apis, port, cache_port, folder, database_url, allow_lossy_database, no_auth)
    run(stay_up(layout), interrupted=0)


async def stay_up(layout: Layout) -> None:
    async with up(layout, say) as running:
        show(running)
        if layout.no_auth:
            say("[red]No keys are asked for: everybody on this machine is an operator.[/]")
        elif not await with_database(running.database_url, api_keys.exist):
            await make_first_key(running)
        say(f"The console: {await console_address(running)}")
        say("Ctrl-C stops them all.")
        await asyncio.Event().wait()


async def make_first_key(running: Running) -> None:
    """Make an operator's key, and show it on a terminal alone: what is written elsewhere, others may read."""
    url = f"{running.layout.url}/banks"
    key = api_keys.new_key()
    file = running.layout.folder / "operator-key"
    if not sys.stdout.isatty():
        private.write(file, key)
    await with_database(running.database_url, lambda connection: api_keys.create_operators(connection, "first", key))
    if sys.stdout.isatty():
        say(f"An operator's key, shown this once: {key}")
        say(f"  curl -H 'Authorization: Bearer {key}' {url}")
    else:
        say(f"An operator's key is in {escape(str(file))}, which you alone can read.")
        say(f'  curl -H "Authorization: Bearer $(cat {escape(shlex.quote(str(file)))})" {url}')


async def console_address(running: Running) -> str:
    """Where the console is. On a terminal it opens by itself there; what goes into a file or a log has no key."""
    layout = running.layout
    if layout.no_auth or layout.database_url or not sys.stdout.isatty():
        return f"{layout.url}/console"
    key = await with_database(running.database_url, lambda connection: console_key(connection, layout.folder))
    return console_url(layout.url, key)
