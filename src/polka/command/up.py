"""`polka up`: everything on this machine."""

import asyncio
import ipaddress
import sys
from pathlib import Path

import click
from rich.markup import escape

from polka.command.help import command, option
from polka.command.on_database import with_database
from polka.command.options import DATABASE, Whole, data_option, database_option, lossy_option, no_auth_option
from polka.command.running import run
from polka.command.show import show
from polka.command.terminal import say
from polka.local import kept_keys, postgres, presence
from polka.local.presence import Presence
from polka.local.up import HOST, Layout, Running, up
from polka.store.database import Connection


def address_of(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an IPv4 address.") from None


@command("up", "polka up", "polka up --port 9000 --apis 4", "polka up --data ~/polka-tour")
@option("--apis", default=2, show_default=True, type=Whole(1, 64), metavar="N", help="Api processes.")
@option(
    "--port",
    default=8000,
    show_default=True,
    type=Whole(1, 65535),
    metavar="PORT",
    help="The port for clients and the console.",
)
@option(
    "--host",
    type=address_of,
    metavar="ADDRESS",
    default=HOST,
    show_default=True,
    envvar="POLKA_HOST",
    show_envvar=True,
    help="The address for clients. 0.0.0.0 admits clients from elsewhere.",
)
@option(
    "--cache-port",
    type=Whole(1, 65535),
    metavar="PORT",
    show_default="8100, or any free one",
    help="The port of the cache.",
)
@data_option("The folder for Polka's own Postgres.", DATABASE)
@database_option
@lossy_option
@no_auth_option
def run_up(
    apis: int,
    port: int,
    host: str,
    cache_port: int | None,
    data: Path | None,
    database_url: str | None,
    allow_lossy_database: bool,
    no_auth: bool,
) -> None:
    """Start everything on this machine and keep it running.

    Postgres, the cache and several apis run behind one port, until Ctrl-C.
    """
    folder = data or postgres.data_folder()
    layout = Layout(apis, port, cache_port, folder, database_url, allow_lossy_database, no_auth, host)
    run(stay_up(layout), interrupted=0)


async def stay_up(layout: Layout) -> None:
    async with up(layout, say) as running:
        found = await presence_of(running)
        with presence.announced(layout.folder, found):
            show(running)
            if layout.no_auth:
                say("[red]No keys are asked for: everybody on this machine is an operator.[/]")
            elif found.key:
                file = layout.folder / kept_keys.OPERATOR
                say(f"An operator's key is in {escape(str(file))}, which you alone can read.")
            say(f"The console: {console_address(found)}")
            say("`polka console` opens it in a browser, `polka status` shows its figures.")
            say("Ctrl-C stops everything.")
            await asyncio.Event().wait()


async def presence_of(running: Running) -> Presence:
    """The address of this Polka, with the keys in its folder."""
    layout = running.layout
    if layout.no_auth:
        return Presence(layout.url)

    async def keys(connection: Connection) -> Presence:
        is_own = not layout.database_url
        key = await kept_keys.operators_key(connection, layout.folder, is_own)
        console_key = await kept_keys.console_key(connection, layout.folder) if is_own else key
        return Presence(layout.url, key, console_key)

    return await with_database(running.database_url, keys)


def console_address(found: Presence) -> str:
    """The address of the console. On a terminal the address has the key. In a file or a log there is no key."""
    if found.console_key is None or not sys.stdout.isatty():
        return f"{found.url}/console"
    return kept_keys.console_url(found.url, found.console_key)
