"""The ports of `polka up`: they fit together, stay its own while a process is away, and lead to its own processes."""

import os
import re
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from commands import one_line, polka, up
from polka.edge import server
from polka.local.demo import PORTS_OF_LAYOUT, free_layout, free_port
from polka.local.up import ANYWHERE, HOST, Held, Layout, check_ports
from polka.service.failure import Failure
from services import client, wait_for
from strangers import as_stranger, needs_root


def layout(port: int, cache_port: int | None = None, apis: int = 2) -> Layout:
    return Layout(apis, port, cache_port, Path("/nowhere"))


@pytest.mark.parametrize("words", [["--port=8099", "--cache-port=8100"], ["--port=8100", "--cache-port=8100"]])
def test_a_port_of_the_cache_that_is_another_processs_is_one_clear_line(words: list[str], tmp_path: Path) -> None:
    said = one_line(polka("up", *words, f"--data={tmp_path}"))
    assert said.startswith("--cache-port: 8100 is one of the ports of apis and metrics, ")


def test_ports_beyond_the_last_are_one_clear_line(tmp_path: Path) -> None:
    said = one_line(polka("up", "--port=65535", f"--data={tmp_path}"))
    assert said == "Polka would need the ports 65535 to 65538, and the last port is 65535."
    check_ports(layout(65532))
    with pytest.raises(Failure):
        check_ports(layout(65533))


def test_without_keys_nobody_comes_from_outside(tmp_path: Path) -> None:
    said = one_line(polka("up", "--no-auth", "--host=0.0.0.0", f"--data={tmp_path}"))
    assert said == "Without keys it may listen on this machine alone, not on 0.0.0.0."


def test_a_host_is_an_address(tmp_path: Path) -> None:
    said = one_line(polka("up", "--host=example.org", f"--data={tmp_path}"))
    assert said == "Invalid value for '--host' (env var: 'POLKA_HOST'): 'example.org' is not an IPv4 address."


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that no other run of pytest closes to Postgres' user."""
    with tempfile.TemporaryDirectory(prefix="polka-ports-") as name:
        yield Path(name)


other_folder = folder


def test_two_polkas_run_beside_each_other_without_a_port_of_the_cache(folder: Path, other_folder: Path) -> None:
    with up(folder) as one, up(other_folder) as other:
        addresses = {running.address("cache") for running in (one, other)}
        assert len(addresses) == 2
        for running in (one, other):
            assert client.get(f"{running.url}/banks", headers=running.key()).json()["banks"] == []


def test_a_cache_that_is_killed_leaves_its_port_to_its_successor_alone(folder: Path) -> None:
    with up(folder) as running:
        address = running.address("cache")
        pid = running.pid("cache")
        os.kill(pid, signal.SIGKILL)
        wait_for("it is dead", lambda: running.says("cache ended (SIGKILL)"))
        port = int(address.rpartition(":")[2])
        with pytest.raises(Failure, match="Address already in use"):
            server.listen(HOST, port)
        assert client.get(f"{address}/balance", timeout=120).status_code == 401
        wait_for("another runs", lambda: running.pid("cache") != pid)


def listens(port: int, *options: int) -> bool:
    with socket.socket() as taken:
        for option in options:
            taken.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            taken.bind((HOST, port))
            taken.listen()
        except OSError:
            return False
        return True


WAYS = [(), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)]


@needs_root
@pytest.mark.parametrize("host", [HOST, ANYWHERE])
@pytest.mark.parametrize("options", WAYS)
def test_another_user_cannot_take_a_port_before_a_process_listens_or_after_it_has_died(
    options: tuple[int, ...], host: str
) -> None:
    free = replace(free_layout(2, Path("/nowhere"), None), host=host)
    with Held.bound(free) as held:
        sockets = (held.cache, *held.metrics)
        ports = [free.port, *(bound.getsockname()[1] for bound in sockets)]
        assert as_stranger(lambda: [listens(port, *options) for port in ports]) == [False] * 5
        for bound in sockets:  # as a process that is killed: its copy of the socket is closed
            with bound.dup() as copy:
                copy.listen()
        with server.listen(host, free.port, shared=True) as shared:
            shared.listen()
            assert as_stranger(lambda: listens(free.port, *options)) is False
        assert as_stranger(lambda: [listens(port, *options) for port in ports]) == [False] * 5
        with server.listen(host, free.port, shared=True) as successor:
            successor.listen()
    assert as_stranger(lambda: listens(free_port(), *options)) is True


def test_a_port_with_connections_that_another_program_has_just_closed_is_free() -> None:
    free = free_layout(2, Path("/nowhere"), None)
    for port in (free.port, *free.metrics_ports):
        leave_a_closed_connection(port)
        assert not listens(port)
    with Held.bound(free), server.listen(HOST, free.port, shared=True) as api:
        api.listen()
        with socket.create_connection((HOST, free.port)):
            pass


def leave_a_closed_connection(port: int) -> None:
    """In the kernel, for a minute. The side that closes first waits."""
    with socket.create_server((HOST, port)) as other, socket.create_connection((HOST, port)) as connection:
        other.accept()[0].close()
        assert connection.recv(1) == b""


@pytest.mark.parametrize("options", WAYS)
def test_a_port_on_which_another_program_listens_is_refused(options: tuple[int, ...]) -> None:
    free = free_layout(2, Path("/nowhere"), None)
    with socket.socket() as other:
        for option in options:
            other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind((HOST, free.port))
        other.listen()
        in_use = f"Cannot listen on {HOST}:{free.port}: Address already in use. Choose another port with --port."
        with pytest.raises(Failure, match=re.escape(in_use)), Held.bound(free):
            pass


def test_a_reserved_port_answers_no_client() -> None:
    port = free_port()
    with server.reserve(HOST, port), pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port)).close()


def test_a_free_port_and_those_of_its_layout_are_not_given_again_soon() -> None:
    given = [free_port() for _ in range(50)]
    layouts = [set(range(port, port + PORTS_OF_LAYOUT)) for port in given]
    assert len(set.union(*layouts)) == len(given) * PORTS_OF_LAYOUT


def test_a_host_opens_the_port_of_clients_alone(folder: Path) -> None:
    """All of 127.0.0.0/8 leads to this machine, so another address of that kind stands for one from outside."""
    with up(folder, POLKA_HOST="0.0.0.0") as running:
        outside = f"http://127.0.0.2:{running.port}"
        assert client.get(f"{outside}/banks", headers=running.key()).is_success
        for port in (*range(running.port + 1, running.port + 4), int(running.address("cache").rpartition(":")[2])):
            with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port)):
                pass
