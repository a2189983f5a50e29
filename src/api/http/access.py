"""Access rights: every request needs a known caller within the caller's limits, and each route names its scope."""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Send

from api.http import problems, sessions
from api.http.key_uses import KeyUses
from api.http.keyring import Keyring
from api.http.limits import Limits
from api.http.problems import RefusedError
from api.http.refusals import KEYS_UNREADABLE, NO_KEY, UNKNOWN_KEY, Refusal, Refused
from polka.rules import keys, same_site
from polka.rules.headers import RepeatedError, fields_of
from polka.rules.keys import Caller, Scope

OPEN = re.compile(r"/\Z|/(hello|health|metrics|schema)(/|\Z)|/console(/|/[\w-]+\.\w+)?\Z")
"""Paths without a key. The console's files contain no data."""
EVENTS = "/console/events"
READING = ("GET", "HEAD", "OPTIONS")
"""Methods without a record."""

EVERYBODY = Caller("everybody", None, frozenset(Scope))
"""The caller if no keys are required (POLKA_NO_AUTH)."""


class Access:
    """Passes requests with a known key. Without a keyring every caller is an operator.

    The request's scope then has `caller`, `keyring`, `fields` (its headers by name), and `arrived`, the time of the
    complete head in the event loop's time.
    """

    def __init__(
        self, app: ASGIApp, keyring: Keyring | None, uses: KeyUses, limits: Limits, secret: str | None
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._uses = uses
        self._limits = limits
        self._secret = secret  # signs sessions of the console

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        refused = self._read_head(scope)
        if refused is None and self._keyring is None and (told := same_site.refusal(scope["headers"])):
            refused = Refused(Refusal.FORBIDDEN, told)
        if refused is None and not OPEN.match(scope["path"]):
            refused = await self._admit(scope)
        if refused is not None:
            await problems.send_answer(problems.encode(refused), send)
            return
        await self._app(scope, receive, send)

    def known(self, header: bytes) -> Caller | None:
        """The caller of a writing request, by the header `Authorization`; None if the table must be read first."""
        keyring = self._keyring
        return None if keyring is None or keyring.is_outdated else keyring.of_header(header)

    def admits(self, caller: Caller) -> bool:
        """Count a request of a known caller. Returns False, and counts nothing, if the request is beyond the caller's
        limit."""
        if self._limits.take(caller.share, 1, time.monotonic_ns()):
            return False
        self._uses.note(caller.id)
        return True

    def admits_not(self, caller: Caller) -> None:
        """Undo the count of the request that was just admitted, because the app counts it again."""
        self._limits.give_back(caller.share, 1)

    def knows(self, scope: Any) -> bool:
        """Whether the request has the key of a known caller."""
        if self._keyring is None:
            return True
        key = keys.bearer_token(dict(scope["headers"]))
        return key is not None and self._keyring.find(key) is not None

    def _read_head(self, scope: Any) -> Refused | None:
        scope["arrived"] = asyncio.get_running_loop().time()
        scope["keyring"] = self._keyring
        if "fields" not in scope:  # the server sets them, unless a header is repeated
            try:
                scope["fields"] = fields_of(scope["headers"])
            except RepeatedError as error:
                return Refused(Refusal.INVALID, str(error), error.name)
        return None

    async def _admit(self, scope: Any) -> Refused | None:
        """The reason for rejecting the request. Unknown and revoked keys get the same reason."""
        if self._keyring is None:
            caller = EVERYBODY
        else:
            key = keys.bearer_token(scope["fields"])
            found = self._in_session(scope, self._keyring) if key is None else self._keyring.find(key)
            if found is None or (self._keyring.is_outdated and scope["method"] not in READING):
                if key is None:
                    return NO_KEY
                if not await self._keyring.look():
                    return KEYS_UNREADABLE
                found = self._keyring.find(key)
            if found is None:
                return UNKNOWN_KEY
            caller = found
            self._uses.note(caller.id)
        scope["caller"] = caller
        return self._limits.take(caller.share, 1, time.monotonic_ns())

    def _in_session(self, scope: Any, keyring: Keyring) -> Caller | None:
        """The caller behind a console's session. A session reads events and does nothing else."""
        if scope["path"] != EVENTS or scope["method"] != "GET" or self._secret is None:
            return None
        session = sessions.in_cookies(scope["headers"])
        key_id = sessions.key_of(self._secret, session, time.time()) if session else None
        return keyring.with_id(key_id) if key_id else None


@dataclass(frozen=True)
class Needs:
    """A route's guard: the caller's key must have this scope."""

    scope: Scope

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if refused := lacking(caller_of(connection), self.scope):
            raise RefusedError(refused)


def lacking(caller: Caller, scope: Scope) -> Refused | None:
    """The refusal of a caller without the scope."""
    if scope in caller.scopes:
        return None
    challenge = f'Bearer realm="polka", error="insufficient_scope", scope="{scope.value}"'
    return Refused(
        Refusal.FORBIDDEN,
        f"The key needs the scope {scope.value} for this.",
        headers=(("www-authenticate", challenge),),
    )


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    scope: Any = connection.scope
    caller: Caller = scope["caller"]
    return caller


async def provide_caller(request: Request[Any, Any, Any]) -> Caller:
    return caller_of(request)
