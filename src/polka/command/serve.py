"""`polka api` and `polka cache`: one process of a service."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable

import click

from polka.command.options import no_auth_option
from polka.edge import server
from polka.service import logs
from polka.service.failure import Failure


def handed_on_options(work: Callable[..., None]) -> Callable[..., None]:
    """Descriptors of bound sockets that `polka up` hands on: they replace the host and the port."""
    for name in ("--socket", "--metrics-socket"):
        work = click.option(name, type=int, hidden=True)(work)
    return work


reload_option = click.option(
    "--reload", is_flag=True, hidden=True, help="For development: start anew when a file of the code changes."
)


@click.command("api")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--shared", is_flag=True, help="Share the port with other apis on this machine.")
@handed_on_options
@no_auth_option
@reload_option
def run_api(host: str, port: int, shared: bool, no_auth: bool, reload: bool, **handed_on: int | None) -> None:
    """One api process, as in a container."""
    serve("api", host, port, shared, no_auth, reload, **handed_on)


@click.command("cache")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8100, show_default=True, type=click.IntRange(1, 65535))
@handed_on_options
@no_auth_option
@reload_option
def run_cache(host: str, port: int, no_auth: bool, reload: bool, **handed_on: int | None) -> None:
    """The ledger cache, as in a container: one process. Of two, the later one takes over."""
    serve("cache", host, port, False, no_auth, reload, **handed_on)


def serve(
    name: str,
    host: str,
    port: int,
    shared: bool,
    no_auth: bool,
    reload: bool,
    socket: int | None,
    metrics_socket: int | None,
) -> None:
    with logs.opened(name):
        if metrics_socket is None:
            sockets = server.listen_for_all(host, port, shared)
        else:
            clients = server.listen(host, port, shared) if socket is None else server.handed_on(socket)
            sockets = server.Sockets([clients], server.handed_on(metrics_socket))
        if no_auth:
            ask_for_no_keys(sockets.clients)
        run_service = server.run_reloading if reload else server.run
        run_service(f"{name}.app:app", sockets)


def ask_for_no_keys(sockets: Iterable[socket.socket]) -> None:
    """Set what the flag stands for, where nobody can come from outside.

    Raises:
        Failure: a socket is open to other machines.
    """
    for bound in sockets:
        host = bound.getsockname()[0]
        if not ipaddress.ip_address(host).is_loopback:
            raise Failure(f"Without keys it may listen on this machine alone, not on {host}.")
    os.environ["POLKA_NO_AUTH"] = "true"
