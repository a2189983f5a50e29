"""The cache answers requests with its token. Without a token, pages of other sites stay out."""

import hmac
import re
from typing import Any

import msgspec
from litestar.types import ASGIApp, Receive, Send

from polka.rules import keys, same_site
from polka.rules.headers import Fields, RepeatedError, fields_of

OPEN = re.compile(r"/(health|metrics)(/|\Z)")
"""The paths without a token."""

CHALLENGE = (b"www-authenticate", b'Bearer realm="polka cache"')


class Access:
    """Lets requests with the token pass. If there is no token, requests of other sites' pages are rejected."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token.encode() if token else None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        try:
            fields = scope["fields"] if "fields" in scope else fields_of(scope["headers"])
        except RepeatedError as error:
            await refuse(send, 400, str(error))
            return
        if self._token is None and (told := same_site.refusal(scope["headers"])):
            await refuse(send, 403, told)
            return
        if not OPEN.match(scope["path"]) and not self._has_token(fields):
            await refuse(send, 401, "This needs the cache's token.", CHALLENGE)
            return
        await self._app(scope, receive, send)

    def knows(self, scope: Any) -> bool:
        """Whether the request has the token."""
        return self._has_token(dict(scope["headers"]))

    def _has_token(self, fields: Fields) -> bool:
        if self._token is None:
            return True
        given = keys.bearer_token(fields)
        return given is not None and hmac.compare_digest(given, self._token)


async def refuse(send: Send, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
    body = msgspec.json.encode({"detail": detail})
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
