"""The cache answers whoever has its token; without one only whoever asks how it is."""

import hmac
import re
from typing import Any

import msgspec
from litestar.types import ASGIApp, Receive, Send

from polka import keys

OPEN = re.compile(r"/(health|metrics)(/|\Z)")
"""What needs no token."""

BODY = msgspec.json.encode({"detail": "This needs the cache's token."})
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
    (b"www-authenticate", b'Bearer realm="polka cache"'),
]


class Access:
    """Lets requests pass that bear the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not OPEN.match(scope["path"]) and not self._has_token(scope):
            await send({"type": "http.response.start", "status": 401, "headers": HEADERS})
            await send({"type": "http.response.body", "body": BODY, "more_body": False})
            return
        await self._app(scope, receive, send)

    def _has_token(self, scope: Any) -> bool:
        given = keys.bearer_token(scope["headers"])
        return given is not None and hmac.compare_digest(given, self._token)
