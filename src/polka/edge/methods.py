"""Methods of routes: `HEAD` for every `GET`, and all of a path's methods in `Allow`."""

from collections.abc import Iterable
from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute
from litestar.types import Message, Receive, Send

PATH_LENGTH_MAX = 512
"""Litestar remembers a thousand paths. A longer path than this belongs to no route."""
END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class Methods:
    """Makes Litestar answer `HEAD` like `GET`, without a body."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._methods = {route.path_format: route.methods for route in app.routes if isinstance(route, HTTPRoute)}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        method = scope["method"]
        is_head = method == "HEAD"
        asked = scope | {"method": "GET"} if is_head else scope
        if len(scope["path"]) > PATH_LENGTH_MAX:
            asked = asked | {"path": "/no/such/route"}

        async def answer(message: Message) -> None:
            if message["type"] != "http.response.start":
                if not is_head:
                    await send(message)
                return
            template = scope["path_template"] = asked.get("path_template")
            if method == "OPTIONS" and template in self._methods:
                set_allow(message, self._methods[template])
            elif message["status"] == 405:
                set_allow(message, listed(message["headers"]))
            await send(message)
            if is_head:
                await send(END)

        await self._app(asked, receive, answer)


def set_allow(message: Any, methods: Iterable[str]) -> None:
    known = {str(method) for method in methods}
    allowed = ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))
    others = [(name, value) for name, value in message["headers"] if name != b"allow"]
    message["headers"] = [*others, (b"allow", allowed.encode())]


def listed(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [method for name, value in headers if name == b"allow" for method in value.decode().split(", ")]
