"""A proxy before a real api. It passes requests on, and loses or replaces answers as the test decides."""

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

import httpx

from waiting import WAIT_SECONDS


class Loss(Enum):
    """The fate of an answer after the api has done its work."""

    CUT = "the connection ends without one"
    HELD = "it never comes, and the connection stays open"


Answer = tuple[int, str] | tuple[int, str, dict[str, str]]
"""A status, a body and headers, given in the api's place."""


class Door(ThreadingHTTPServer):
    """`disturb` decides about the nth writing request, from 0; None leaves the request undisturbed."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, api_url: str, disturb: Callable[[int], Loss | Answer | None]) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.api = httpx.Client(base_url=api_url, trust_env=False, verify=False, timeout=WAIT_SECONDS)
        self.keys: Counter[str | None] = Counter()
        """How often each idempotency key came."""
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self._disturb = disturb
        self._posts = 0
        self._lock = threading.Lock()

    def disturbance(self, headers: dict[str, str]) -> Loss | Answer | None:
        with self._lock:
            number, self._posts = self._posts, self._posts + 1
            self.headers.append(headers)
            self.keys[headers.get("idempotency-key")] += 1
        return self._disturb(number)


class Passing(BaseHTTPRequestHandler):
    """A client's connection."""

    protocol_version = "HTTP/1.1"
    server: Door

    def do_GET(self) -> None:
        self.answer(*self.passed_on(b""))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        match self.server.disturbance({name.lower(): value for name, value in self.headers.items()}):
            case None:
                self.answer(*self.passed_on(body))
            case Loss() as loss:
                self.passed_on(body)
                if loss is Loss.HELD:
                    self.server.closing.wait(WAIT_SECONDS)
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
            case status, text:
                self.answer(status, text.encode())
            case status, text, headers:
                self.answer(status, text.encode(), headers)

    def do_PATCH(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def passed_on(self, body: bytes) -> tuple[int, bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        response = self.server.api.request(self.command, self.path, content=body, headers=headers)
        return response.status_code, response.content

    def answer(self, status: int, body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def door(api_url: str, disturb: Callable[[int], Loss | Answer | None] = lambda _: None) -> Iterator[Door]:
    opened = Door(api_url, disturb)
    thread = threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield opened
    finally:
        opened.closing.set()
        opened.shutdown()
        thread.join()
        opened.server_close()
        opened.api.close()


def problem(code: str, detail: str = "It is told here.") -> str:
    return json.dumps({"code": code, "detail": detail})
