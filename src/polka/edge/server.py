"""Serves one of Polka's apps with uvicorn: one process, its sockets, connections of limited age, and a stop that no
client notices. Metrics and health have a port of their own."""

import asyncio
import errno
import gc
import importlib
import math
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import uvicorn
from litestar.types import ASGIApp
from msgspec import Meta, Struct
from uvicorn.supervisors import ChangeReload

from polka.edge import bounds, monitoring, newcomers, tls
from polka.edge.bounds import Bounds
from polka.edge.connections import Connection
from polka.edge.direct import Take
from polka.edge.drain import Drain
from polka.edge.gate import Gate
from polka.edge.handshakes import Handshake
from polka.edge.monitoring import Obstacle
from polka.edge.newcomers import Newcomer
from polka.service import logs, settings, traces
from polka.service.failure import Failure

GRACE_SECONDS = 15
UNSENT_BYTES = 16 * 1024
"""Unsent bytes of an answer that the kernel accepts (on Linux). By default the kernel accepts megabytes, and a slow
reader of a stream would be minutes behind."""
BACKLOG = 4096
PORT_MAX = 65_535
MONITORS_MAX = 64
"""Connections to the port of metrics and health."""
TICKS_OF_SWEEP = 10
TICK_SECONDS_MAX = 1.0
"""A tick takes a tenth of a second. In the time above this limit the process did not run, for example because of a
freeze."""
ACCEPTS_AT_ONCE = 16
"""Connections that each socket accepts in one round of the event loop. uvloop accepts one connection a descriptor.
Under load rounds are long, and connections would wait for many rounds. No deadline applies before a connection is
accepted."""
CODE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Service:
    """The app for clients, its drain, and the obstacle to serving."""

    app: ASGIApp
    drain: Drain
    obstacle: Obstacle
    take: Take | None = None
    """Answers plain requests without the app."""


class PortFailure(Failure):
    """The port is in use, or reserved for root."""


App = Callable[[], AbstractAsyncContextManager[Service]]


class Settings(Struct, frozen=True):
    metrics_port: Annotated[
        Annotated[int, Meta(ge=1, le=65_535)] | None,
        Meta(
            description="The port of `/metrics`, `/health/live` and `/health/ready`. "
            "If it is not set, they are on the port after the service's own."
        ),
    ] = None


@dataclass(frozen=True)
class Sockets:
    """The sockets of a service: for its clients, and for its operators."""

    clients: Sequence[socket.socket]
    monitoring: socket.socket


def run(target: str, sockets: Sockets) -> None:
    """Serve the app that the context `module:name` opens until SIGTERM or Ctrl-C. Then drain and finish requests in
    flight.

    Raises:
        Failure: the app cannot start, for a reason that the user can fix.
    """
    module, _, name = target.partition(":")
    app: App = getattr(importlib.import_module(module), name)
    with traces.opened(module.partition(".")[0]), asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(app, sockets))


def run_reloading(target: str, sockets: Sockets) -> None:
    """The same in a child process, which is replaced after a change of the code: for development."""
    os.environ["PYTHONSAFEPATH"] = "1"  # the child imports nothing from the working directory
    config = uvicorn.Config(target, reload=True, reload_dirs=[str(CODE)], log_config=None)
    ChangeReload(config, partial(run_in_child, target), [*sockets.clients, sockets.monitoring]).run()


def run_in_child(target: str, sockets: Sequence[socket.socket]) -> None:
    """Run in a process without the parent's set-up."""
    *clients, monitoring = sockets
    with logs.opened(target.partition(".")[0]):
        run(target, Sockets(clients, monitoring))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop


async def serve(open_app: App, sockets: Sockets) -> None:
    chosen = settings.read(Bounds, os.environ)
    gate = Gate(chosen, bounds.raise_descriptors_limit())
    own_gate = Gate(chosen, MONITORS_MAX)  # clients with all connections in use must not block probes
    files = settings.read(tls.Settings, os.environ)
    encryption, own_encryption = tls.of_service(files), tls.of_service(files, with_clients=False)
    async with open_app() as service:
        # Objects of the start stay for ever; objects of requests are freed by reference counts. Python's default
        # frequency of garbage collection costs a third of the rate.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        monitored = monitoring.app(lambda: obstacle(server, service))
        monitor = Monitor(config(monitored, service.drain, own_gate, own_encryption), own_gate)
        clients = config(service.app, service.drain, gate, encryption, service.take)
        server = Server(clients, gate, service.drain, monitor)
        if encryption is None:
            newcomers.await_heads(sockets.clients)
        again = [one.dup() for one in sockets.clients for _ in range(ACCEPTS_AT_ONCE - 1)]
        async with asyncio.TaskGroup() as both, tls.watched(encryption, own_encryption):
            both.create_task(monitor.serve([sockets.monitoring]))
            await server.serve([*sockets.clients, *again])


def config(
    app: ASGIApp, drain: Drain, gate: Gate, encryption: ssl.SSLContext | None, take: Take | None = None
) -> uvicorn.Config:
    """The configuration for clients of either port.

    Uvicorn knows nothing of TLS, because it would count a connection only after the handshake.
    """
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=protocol(drain, gate, encryption, take),
        ws="none",
        lifespan="off",  # entered above: a failure at the start becomes one line
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )


def protocol(drain: Drain, gate: Gate, encryption: ssl.SSLContext | None = None, take: Take | None = None) -> Any:
    """Uvicorn calls this for each connection, like the class of its protocol."""
    newcomer = partial(Newcomer, gate, partial(Connection, drain, gate, take))
    return partial(Handshake, encryption, gate, newcomer) if encryption else newcomer


def obstacle(server: uvicorn.Server, service: Service) -> str | None:
    """The reason why the process cannot serve; None if it can."""
    if service.drain.has_begun:
        return "draining"
    return service.obstacle() if server.started else "starting"


class Swept(uvicorn.Server):
    """Checks regularly for late clients."""

    def __init__(self, config: uvicorn.Config, gate: Gate) -> None:
        super().__init__(config)
        self._gate = gate
        self._ticked_at = math.inf
        self._stalled_seconds = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop serving. Called ten times a second."""
        now = asyncio.get_running_loop().time()
        stalled_seconds = max(0.0, now - self._ticked_at - TICK_SECONDS_MAX)
        self._stalled_seconds += stalled_seconds
        self._ticked_at = now
        if counter % TICKS_OF_SWEEP == 0:
            guests: list[Any] = list(self.server_state.connections)
            self._gate.sweep(guests, now, self._stalled_seconds)
            self._stalled_seconds = 0.0
        self._gate.cut_off_newcomers(now, stalled_seconds)
        return await super().on_tick(counter)


class Monitor(Swept):
    """Serves metrics and health until the main server has stopped. Signals go to the main server."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


class Server(Swept):
    """Drains after the first signal to stop. A second signal ends the drain. The monitor stops with the server."""

    def __init__(self, config: uvicorn.Config, gate: Gate, drain: Drain, monitor: Monitor) -> None:
        super().__init__(config, gate)
        self._drain = drain
        self._monitor = monitor
        self._drains_until = 0.0
        self._is_told_again = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture signals for good. Uvicorn would raise them again after its end, before the app has closed its
        resources."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._is_told_again = self.should_exit
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) and self._has_drained()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._monitor.should_exit = True
        await super().shutdown(sockets)

    def _has_drained(self) -> bool:
        now = asyncio.get_running_loop().time()
        connections: set[Any] = self.server_state.connections
        if not self._drain.has_begun:
            self._drain.has_begun = True
            self._drains_until = now + self._drain.seconds
            for connection in connections:
                connection.end_with_next_answer()
        return not connections or now >= self._drains_until or self._is_told_again


def listen_for_all(host: str, port: int, shared: bool = False) -> Sockets:
    """The sockets of a service: for this port, and for the port in `POLKA_METRICS_PORT`.

    Raises:
        Failure: the setting is invalid, a port is in use, or the address is not ours.
    """
    variable = settings.variable("metrics_port")
    beside = settings.read(Settings, os.environ).metrics_port or port + 1
    if beside == port:
        raise Failure(f"{variable} is {port}, which is the port of the service itself.")
    if beside > PORT_MAX:
        raise Failure(f"{variable} is not set, and there is no port after {port}.")
    with advising("Choose another port with --port."):
        clients = listen(host, port, shared)
    try:
        return Sockets([clients], listen(host, beside))
    except Failure as failure:
        clients.close()
        raise Failure(f"{failure} It is the port of metrics and health: {variable} names another.") from None


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Add advice to the failure of a port in the block.

    Raises:
        PortFailure: a port cannot be used. The message ends with the advice.
    """
    try:
        yield
    except PortFailure as failure:
        raise PortFailure(f"{failure} {advice}") from None


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A bound socket. Several processes can bind a shared port, and the kernel spreads connections among these
    processes.

    Raises:
        Failure: the port is in use, or the address is not ours.
    """
    return bind(host, port, socket.SO_REUSEADDR, *([socket.SO_REUSEPORT] if shared else []))


def hold(host: str, port: int) -> socket.socket:
    """A listening socket for a process and its successors.

    While the socket is open, nobody else can listen on the port. The next process answers clients that connect
    meanwhile. Port 0 means any free port.

    Raises:
        Failure: the port is in use, or the address is not ours.
    """
    held = listen(host, port)
    held.listen(BACKLOG)
    return held


def reserve(host: str, port: int) -> socket.socket:
    """A socket that does not listen. It keeps a shared port for this user's processes while none of them listens.

    Raises:
        Failure: the port is in use, or the address is not ours.
    """
    reserved = listen(host, port, shared=True)
    with explaining(reserved, host, port):
        # SO_REUSEADDR binds the port beside closed connections, but lets others bind the port as well. The kernel
        # forgets this permission when a socket listens.
        reserved.listen()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        reserved.shutdown(socket.SHUT_RDWR)
    return reserved


def bind(host: str, port: int, *options: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    for option in options:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
    if sys.platform == "linux":
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)  # inherited by connections
    with explaining(bound, host, port):
        bound.bind((host, port))
    return bound


@contextmanager
def explaining(used: socket.socket, host: str, port: int) -> Iterator[None]:
    """Close the socket if the block cannot use the port.

    Raises:
        Failure: the port is in use, or the address is not ours.
    """
    try:
        yield
    except OSError as error:
        used.close()
        kind = PortFailure if error.errno in (errno.EADDRINUSE, errno.EACCES) else Failure
        raise kind(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error


def handed_on(descriptor: int) -> socket.socket:
    """The bound socket that the parent process has handed on.

    Raises:
        Failure: the descriptor does not belong to a socket.
    """
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise Failure(f"The descriptor {descriptor} is not a socket: {error.strerror or error}.") from error
