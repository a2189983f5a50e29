"""`polka api` and `polka cache`: a process of a service."""

import ipaddress
import os
import socket
from collections.abc import Callable, Iterable

from polka.command.help import command, option
from polka.command.options import Whole, no_auth_option
from polka.edge import server
from polka.service import logs
from polka.service.failure import Failure


def handed_on_options(work: Callable[..., None]) -> Callable[..., None]:
    """Descriptors of bound sockets that `polka up` hands on: they replace the host and the port."""
    for name in ("--socket", "--metrics-socket"):
        work = option(name, type=int, hidden=True)(work)
    return work


reload_option = option(
    "--reload", is_flag=True, hidden=True, help="For development: start again when a file of the code changes."
)

host_option = option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")


def port_option(default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    number = Whole(1, 65535)
    return option("--port", default=default, show_default=True, type=number, metavar="PORT", help="The port.")


@command("api", "polka api --host 0.0.0.0 --port 8000")
@host_option
@port_option(8000)
@option("--shared", is_flag=True, help="Share the port with other apis on this machine.")
@handed_on_options
@no_auth_option
@reload_option
def run_api(host: str, port: int, shared: bool, no_auth: bool, reload: bool, **handed_on: int | None) -> None:
    """Run one api process, as in a container.

    The settings are environment variables. docs/settings.md lists them.
    """
    serve("api", host, port, shared, no_auth, reload, **handed_on)


@command("cache", "polka cache --host 0.0.0.0 --port 8100")
@host_option
@port_option(8100)
@handed_on_options
@no_auth_option
@reload_option
def run_cache(host: str, port: int, no_auth: bool, reload: bool, **handed_on: int | None) -> None:
    """Run the cache, as in a container.

    Run one cache only: a second one takes over from the first.
    """
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
    """Set the variable of the flag, if nobody can come from outside.

    Raises:
        Failure: a socket is open to other machines.
    """
    for bound in sockets:
        host = bound.getsockname()[0]
        if not ipaddress.ip_address(host).is_loopback:
            raise Failure(f"Without keys it may listen on this machine alone, not on {host}.")
    os.environ["POLKA_NO_AUTH"] = "true"
