"""`polka up`: Postgres, the cache and the apis as child processes. They are restarted when they die, and stopped in
order."""

import asyncio
import fcntl
import ipaddress
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from polka.edge import server, tls
from polka.local import control, postgres, presence, private
from polka.local.drilling import Driller, Ground
from polka.local.processes import PYTHON, Process
from polka.service import settings
from polka.service.failure import Failure, OutdatedFailure
from polka.store import migrate

HOST = "127.0.0.1"
ANYWHERE = "0.0.0.0"  # noqa: S104
"""All addresses of this machine, on request of the user: in a container, for example."""
PORTS_ARE_SHARED = sys.platform == "linux"
RESTART_SECONDS_MIN, RESTART_SECONDS_MAX = 0.1, 2.0
OUTDATED_SECONDS = 15.0
SETTLED_SECONDS = 30.0
PORT_MAX = 65535
CACHE_PORT = 8100
"""The default port of the cache. If the port is in use, any free port is taken."""

PLAIN_URL = re.compile(
    r"postgres(ql)?://([^/?#@]*@)?(?P<hosts>[\w.-]+(:\d+)?(,[\w.-]+(:\d+)?)*|\[[\da-fA-F:]+\](:\d+)?)(?P<name>/[\w-]*)?(\?[^@#]*)?"
)
FILES = ("tls_cert", "tls_key", "tls_client_ca", "cache_ca", "cache_cert", "cache_key")
PLAIN = dict.fromkeys(map(settings.variable, FILES), "")
"""Without encryption, because all connections stay on this machine."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Layout:
    """The parts to start, and their ports. Without a database of the user's, Polka runs its own Postgres in `folder`.

    Without a port for the cache, any free port is taken.
    """

    apis: int
    port: int
    cache_port: int | None
    folder: Path
    database_url: str | None = None
    allow_lossy: bool = False
    no_auth: bool = False
    host: str = HOST
    """The address of the apis for clients. Everything else listens only on this machine."""

    @property
    def api_ports(self) -> list[int]:
        """The port of each api for clients: all on `port` if the kernel shares a port, otherwise consecutive ports."""
        return [self.port if PORTS_ARE_SHARED else self.port + number for number in range(self.apis)]

    @property
    def metrics_ports(self) -> list[int]:
        """The ports of metrics and health: first the cache's, after the apis' ports, then each api's."""
        first = max(self.api_ports) + 1
        return list(range(first, first + 1 + self.apis))

    @property
    def url(self) -> str:
        """The address of the apis for this machine."""
        return f"http://{HOST if self.host == ANYWHERE else self.host}:{self.port}"


@dataclass
class Running:
    """All running processes, in the order of their start."""

    layout: Layout
    held: "Held"
    database_url: str
    cache_token: str
    processes: list[Process] = field(default_factory=list)
    control_socket: Path | None = None
    control_token: str = field(default_factory=secrets.token_hex)
    cache_url: str = field(init=False)

    def __post_init__(self) -> None:
        self.cache_url = url_of(self.held.cache)


@asynccontextmanager
async def up(layout: Layout, say: Say) -> AsyncIterator[Running]:
    """Start everything and keep it running during the block. Then stop everything, last started first.

    Raises:
        Failure: a port or the folder is in use, or a part does not start.
    """
    with (
        locked(layout.folder),
        Held.bound(layout) as held,
        control_folder() as controlled,
    ):
        own = None if layout.database_url else postgres.Server(postgres.locate(), layout.folder)
        token = os.environ.get("POLKA_CACHE_TOKEN") or secrets.token_hex()
        path = controlled / "socket"
        running = Running(layout, held, own.url if own else layout.database_url or "", token, control_socket=path)
        driller = Driller(Ground(running.processes, layout.url, running.database_url, not layout.no_auth))
        keepers: list[asyncio.Task[None]] = []
        try:
            if own:
                say(own.programs.source)
                own.initialise()
                await start(own, running)
            else:
                say(": ".join(filter(None, ["PostgreSQL as given", address_of(running.database_url)])))
            await migrate.migrate(running.database_url, layout.allow_lossy)
            for process in services(running):
                await start(process, running)
            keepers += [asyncio.create_task(keep_running(process, say)) for process in running.processes]
            async with control.listen(path, running.control_token, driller.obey):
                yield running
        finally:
            await driller.stop()
            for keeper in keepers:
                keeper.cancel()
            for process in reversed(running.processes):
                await process.stop()


@dataclass(frozen=True)
class Held:
    """The sockets of a Polka, bound once and held until its end, so that no other process can take a port in between.

    `apis` is empty if the kernel shares a port among processes. Then each api binds the port, and the port is only
    reserved here. `metrics` are the sockets of the cache, then of each api.
    """

    cache: socket.socket
    apis: list[socket.socket]
    metrics: list[socket.socket]

    @classmethod
    @contextmanager
    def bound(cls, layout: Layout) -> Iterator["Held"]:
        """Bind the sockets.

        Raises:
            Failure: the ports do not fit together, or a port is in use.
        """
        check_ports(layout)
        check_host(layout)
        with ExitStack() as stack:
            apis = []
            with server.advising("Choose another port with --port."):
                if PORTS_ARE_SHARED:
                    # A shared port would quietly be shared with another Polka.
                    server.listen(layout.host, layout.port).close()
                    stack.enter_context(server.reserve(layout.host, layout.port))
                else:
                    apis = [stack.enter_context(server.hold(layout.host, port)) for port in layout.api_ports]
            with server.advising("The ports of metrics follow the port of clients: choose another with --port."):
                metrics = [stack.enter_context(server.hold(HOST, port)) for port in layout.metrics_ports]
            with server.advising("Choose another port with --cache-port."):
                cache = stack.enter_context(hold_for_cache(layout.cache_port))
            yield cls(cache, apis, metrics)


def check_ports(layout: Layout) -> None:
    """Check that the ports fit together.

    Raises:
        Failure: a port is too high, or two ports are the same.
    """
    ports = [*layout.api_ports, *layout.metrics_ports]
    if ports[-1] > PORT_MAX:
        raise Failure(f"Polka would need the ports {ports[0]} to {ports[-1]}, and the last port is {PORT_MAX}.")
    if layout.cache_port in ports:
        raise Failure(
            f"--cache-port: {layout.cache_port} is one of the ports of apis and metrics, {ports[0]} to {ports[-1]}."
        )


def check_host(layout: Layout) -> None:
    """Check that no client from outside can come without a key.

    Raises:
        Failure: such a client could come.
    """
    if layout.no_auth and not ipaddress.ip_address(layout.host).is_loopback:
        raise Failure(f"Without keys it may listen on this machine alone, not on {layout.host}.")


def hold_for_cache(port: int | None) -> socket.socket:
    if port is not None:
        return server.hold(HOST, port)
    try:
        return server.hold(HOST, CACHE_PORT)
    except Failure:
        return server.hold(HOST, 0)


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"http://{host}:{port}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make and lock the folder. If the block fails early, nothing that was made stays.

    Raises:
        Failure: another Polka uses the folder, or another user might.
    """
    before = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    # Root's Postgres runs as another user, who must pass through the folder.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    with private.made_folder(folder, mode), private.appended(folder / postgres.LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = presence.find(folder)
            which = f"The Polka at {running.url}" if running else "Another Polka"
            raise Failure(f"{which} uses {folder}: stop it, or choose another folder with --data.") from None
        try:
            yield
        except BaseException:
            postgres.discard(folder, before)
            raise


@contextmanager
def control_folder() -> Iterator[Path]:
    """For the socket of orders from apis."""
    folder = private.short_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def address_of(url: str) -> str | None:
    """The address of the database for display; None unless the URL is so plain that no part of it can be a password."""
    found = PLAIN_URL.fullmatch(url)
    return f"{found['hosts']}{found['name'] or ''}" if found else None


def services(running: Running) -> list[Process]:
    """The cache, and then the apis."""
    layout = running.layout
    environ = {
        "POLKA_DATABASE_URL": running.database_url,
        "POLKA_CACHE_URL": running.cache_url,
        "POLKA_CACHE_TOKEN": running.cache_token,
        "POLKA_NO_AUTH": str(layout.no_auth).lower(),
        "POLKA_ALLOW_LOSSY_DATABASE": str(layout.allow_lossy).lower(),
        "POLKA_LOG_FORMAT": os.environ.get("POLKA_LOG_FORMAT", "text"),  # like the lines of `polka up`
        "POLKA_LOG_LEVEL": os.environ.get("POLKA_LOG_LEVEL", "warning"),
    }
    if running.control_socket:
        environ |= {"POLKA_CONTROL_SOCKET": str(running.control_socket), "POLKA_CONTROL_TOKEN": running.control_token}
    held = running.held
    cache_metrics, *metrics = held.metrics
    return [
        service("cache", ["cache"], held.cache, cache_metrics, environ),
        *(
            service(f"api-{number}", ["api"], held.apis[number - 1], its, environ)
            if held.apis
            else service(
                f"api-{number}",
                ["api", "--shared", f"--host={layout.host}", f"--port={layout.port}"],
                None,
                its,
                environ,
            )
            for number, its in enumerate(metrics, 1)
        ),
    ]


def service(
    name: str, words: Sequence[str], bound: socket.socket | None, metrics: socket.socket, environ: Mapping[str, str]
) -> Process:
    """A process that serves clients on the socket, or on the port in its words.

    No other process has the socket of its metrics and health, so an answer there is from this process.
    """
    own = [f"--socket={bound.fileno()}"] if bound else []
    return Process(
        name,
        [*PYTHON, "-m", "polka", *words, *own, f"--metrics-socket={metrics.fileno()}"],
        url_of(bound) if bound else f"http://{HOST}:{words[-1].removeprefix('--port=')}",
        url_of(metrics),
        is_ready=partial(answers, f"{url_of(metrics)}/health/ready"),
        environ={**environ, **PLAIN, "POLKA_NAME": name},
        sockets=[bound, metrics] if bound else [metrics],
    )


async def answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=1, trust_env=False, verify=tls.verifies(url)) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


async def start(process: Process, running: Running) -> None:
    running.processes.append(process)
    await process.start()


async def keep_running(process: Process, say: Say) -> None:
    """Restart the process whenever it ends. The pause grows while the process keeps failing by itself."""

    def tell(text: str) -> None:
        with suppress(OSError):  # the reader of our output has ended, or its disk is full
            say(text)

    pause = RESTART_SECONDS_MIN
    while True:
        started = time.monotonic()
        code = await process.wait()
        if code < 0 or time.monotonic() - started > SETTLED_SECONDS:
            pause = RESTART_SECONDS_MIN
        if code == OutdatedFailure.exit_code:
            pause = OUTDATED_SECONDS
        tell(f"{process.name} ended ({ending(code)}); starting it again in {pause:.1f} s")
        await asyncio.sleep(pause)
        pause = min(pause * 2, RESTART_SECONDS_MAX)
        try:
            await process.start()
        except Exception as failure:  # this loop must survive any failure
            tell(f"{process.name} did not start: {failure}")
        else:
            tell(f"{process.name} runs again, pid {process.pid}")


def ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
