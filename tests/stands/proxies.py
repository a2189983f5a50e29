"""Debian's reverse proxies in front of Polka: they keep their connections, and close /metrics."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from polka.local.demo import free_port
from services import wait_for

NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream polka {{
        server 127.0.0.1:{to};
        keepalive 1;
    }}
    server {{
        listen 127.0.0.1:{port};
        location /metrics {{ return 403; }}
        location / {{
            proxy_pass http://polka;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Connection $http_connection;
            proxy_set_header Upgrade $http_upgrade;
        }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    timeout connect 10s
    timeout client 120s
    timeout server 120s
    option http-keep-alive
    http-reuse always
frontend polka
    bind 127.0.0.1:{port}
    http-request deny deny_status 403 if {{ path_beg /metrics }}
    default_backend polka
backend polka
    server polka 127.0.0.1:{to}
"""


def nginx(folder: Path, port: int, to: int) -> list[str]:
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, to=to, user=user))
    return ["-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]


def haproxy(folder: Path, port: int, to: int) -> list[str]:
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, to=to))
    return ["-db", "-f", str(config)]


PROXIES: dict[str, Callable[[Path, int, int], list[str]]] = {"nginx": nginx, "haproxy": haproxy}


@contextmanager
def proxy(name: str, folder: Path, to: int) -> Iterator[str]:
    """The URL of a proxy before this port."""
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed: `apt-get install {name}` on Debian and Ubuntu.")
    port = free_port()
    with (folder / f"{name}.log").open("wb") as log:
        running = subprocess.Popen([program, *PROXIES[name](folder, port, to)], stdout=log, stderr=log)

    def listens() -> bool:
        assert running.poll() is None, (folder / f"{name}.log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        wait_for(f"{name} listens", listens)
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait()
