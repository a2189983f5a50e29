"""The balance of one account, answered at the door, because Litestar's way costs more than the work."""

import re
from typing import Any
from urllib.parse import quote

from litestar.types import ASGIApp, Receive, Send

from api.cache_client import CacheClient
from api.http import problems
from api.http.access import lacking
from api.routes.answers import JSON
from api.routes.banks import KnownBanks, with_cursor
from polka.edge.direct import NOT_PLAIN
from polka.rules.banks import account_asked
from polka.rules.keys import Scope

ROUTE = "/banks/{name}/accounts"
PATH = re.compile(r"/banks/([^/]+)/accounts")


class AccountLane:
    """Answers `GET /banks/{name}/accounts?account=…` for callers with the right to see the account, while the cache
    answers.

    All other requests go on to the app.
    """

    def __init__(self, app: ASGIApp, known_banks: KnownBanks, cache: CacheClient) -> None:
        self._app = app
        self._known_banks = known_banks
        self._cache = cache

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        page = await self._page(scope)
        if page is None:
            await self._app(scope, receive, send)
            return
        scope["path_template"] = ROUTE
        await problems.send_answer((200, [JSON, (b"content-length", b"%d" % len(page))], page), send)

    async def _page(self, scope: Any) -> bytes | None:
        """The answer; None if the request needs the app."""
        account = account_asked(scope["query_string"]) if scope["method"] == "GET" else None
        path = PATH.fullmatch(scope["path"]) if account else None
        if account is None or path is None or not NOT_PLAIN.isdisjoint(scope["fields"]):
            return None
        bank, caller = path[1], scope["caller"]
        may_see = caller.acts_for(bank) and lacking(caller, Scope.TRANSACTIONS_READ) is None
        if not may_see or not self._known_banks.has(bank):
            return None
        known = await self._cache.ask(f"/balance/{quote(bank)}/accounts", {"account": account})
        return None if known is None else with_cursor(known) + b"\n"
