"""A whole `polka up`: what dies is restarted, nobody is left behind, and no two share a folder or a port."""

import os
import re
import signal
import socket
from functools import partial
from pathlib import Path

import pytest

from commands import Up, one_line, polka, up
from polka.local.demo import free_port
from services import Services, bearer, client, payment, wait_for
from waiting import WAIT_SECONDS


def test_up_restarts_what_dies_and_ctrl_c_stops_all(tmp_path: Path) -> None:
    with up(tmp_path, is_executed=True) as running:
        said = running.said()
        assert "PostgreSQL 1" in said
        for name in ("postgres", "cache", "api-1", "api-2"):
            assert running.pid(name)
        key = running.key()
        assert client.post(f"{running.url}/banks", json={"name": "one"}, headers=key).status_code == 201
        assert client.post(f"{running.url}/banks", json={"name": "two"}, headers=key).status_code == 201
        body = payment(sender="one", receiver="two")
        assert client.post(f"{running.url}/transaction", json=body, headers=key).status_code == 201
        for name in ("api-1", "cache", "postgres"):
            os.kill(running.pid(name), signal.SIGKILL)
            wait_for(f"{name} runs again", partial(running.says, f"{name} runs again"))
            wait_for(
                "payments go on",
                lambda: client.post(f"{running.url}/transaction", json=body, headers=key).status_code == 201,
            )
        pids = [running.pid(name) for name in ("postgres", "cache", "api-1", "api-2")]
        data = tmp_path
        done = polka("audit", POLKA_DATABASE_URL=f"postgresql://postgres@/postgres?host={socket_of(running)}")
        assert done.returncode == 0, done.stdout
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WAIT_SECONDS) == 0
        assert "Traceback" not in running.said()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
    with up(data) as again:
        assert client.get(f"{again.url}/transaction", headers=key).json()["sender"]["bank"] == "one"
        assert f"The console: {again.url}/console\n" in again.said()
        assert "polka_" not in again.said()


def socket_of(running: Up) -> str:
    found = re.search(r"^postgres +\d+ +(\S+)", running.said(), re.MULTILINE)
    assert found
    return found[1]


def test_up_starts_an_ousted_cache_again_only_after_a_while(tmp_path: Path, services: Services) -> None:
    """At once, the two would oust each other for ever."""
    with up(tmp_path, POLKA_DATABASE_URL=services.database_url) as running:
        other = services.another_cache().ready()
        ousted = "cache ended (exit code 75); starting it again in 15.0 s"
        wait_for("the cache is ousted", partial(running.says, ousted))
        assert other.is_ready()


def test_up_leaves_nobody_behind_when_it_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        pids = [running.pid(name) for name in ("postgres", "cache", "api-1", "api-2")]
        running.process.kill()
        running.process.wait()
        for pid in pids:
            wait_for("it ends with its parent", partial(is_dead, pid))
    with up(tmp_path) as again:
        assert client.get(f"{again.url}/hello").status_code == 200


def is_dead(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_second_up_in_the_same_folder_or_on_the_same_port(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        for port in (running.port, free_port()):
            said = one_line(polka("up", f"--port={port}", f"--data={tmp_path}"))
            assert said == f"The Polka at {running.url} uses {tmp_path}: stop it, or choose another folder with --data."
        said = one_line(polka("up", f"--port={running.port}", f"--cache-port={free_port()}", "--data=/tmp/other"))
        assert said.startswith(f"Cannot listen on 127.0.0.1:{running.port}")


def test_up_over_a_given_database(tmp_path: Path, empty_database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=empty_database_url) as running:
        assert "PostgreSQL as given" in running.said()
        assert client.get(f"{running.url}/banks", headers=running.key()).json()["banks"] == []


def test_up_without_keys_warns(tmp_path: Path, empty_database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=empty_database_url, POLKA_NO_AUTH="true") as running:
        assert "everybody on this machine is an operator" in running.said()
        assert "polka_" not in running.said()
        assert client.get(f"{running.url}/banks", headers=bearer("nothing")).status_code == 200


def test_apis_share_the_port_and_the_load(tmp_path: Path, database_url: str) -> None:
    with up(tmp_path, POLKA_DATABASE_URL=database_url) as running:
        for _ in range(200):
            client_of_its_own(running.url)
        addresses = dict(re.findall(r"^(cache|api-\d) +\d+ +\S+ +(\S+)$", running.said(), re.M))
        assert "polka_epoch 1.0" in client.get(f"{addresses['cache']}/metrics").text
        counts = []
        for name in ("api-1", "api-2"):
            text = client.get(f"{addresses[name]}/metrics").text
            found = re.search(r'polka_http_requests_total\{method="GET",route="/hello",status="200"\} (\S+)', text)
            counts.append(float(found[1]) if found else 0)
        assert min(counts) >= 30, counts


def client_of_its_own(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
