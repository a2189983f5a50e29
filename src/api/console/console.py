"""The console (`/console…`): its page, the sessions of browsers, and the one stream of events."""

import time
from importlib.resources import files
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.response import Stream

from api.console.feed import STREAMS_MAX, Feed, FullError
from api.http import sessions
from api.http.access import Needs
from api.http.keyring import Keyring
from api.http.local import only_from_this_site
from api.http.problems import refuse
from api.http.refusals import Refusal
from api.settings import Settings
from polka.edge.drain import Drain
from polka.rules.keys import Caller, Scope

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {entry.name: entry for entry in files("api.console").joinpath("static").iterdir()}
"""By name. Each file has its own route, so that no path comes from a request."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@get("/console", include_in_schema=False, sync_to_thread=False)
def show_console() -> Response[bytes]:
    """The page. It contains no data, because all data needs a key."""
    return file("index.html")


@get([f"/console/{name}" for name in FILES], include_in_schema=False, sync_to_thread=False)
def get_console_file(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The files of the page."""
    return file(request.scope["path"].rpartition("/")[2])


def file(name: str) -> Response[bytes]:
    kind = MEDIA_TYPES[name[name.rfind(".") :]]
    return Response(FILES[name].read_bytes(), media_type=f"{kind}; charset=utf-8", headers=HEADERS)


@post(
    "/console/session",
    status_code=204,
    include_in_schema=False,
    guards=[Needs(Scope.OPERATE), only_from_this_site],
    sync_to_thread=False,
)
def open_session(
    request: Request[Any, Any, Any], caller: NamedDependency[Caller], settings: NamedDependency[Settings]
) -> Response[None]:
    """Exchange the key for a cookie. With the cookie this browser may read the console's events for an hour."""
    cookies = []
    if not settings.no_auth and settings.cache_token:
        session = sessions.sign(settings.cache_token, caller.id, int(time.time()) + sessions.SECONDS)
        is_secure = request.headers.get("origin", "").startswith("https:")
        cookies = [
            Cookie(
                sessions.COOKIE,
                path="/console",
                value=session,
                max_age=sessions.SECONDS,
                secure=is_secure,
                httponly=True,
                samesite="strict",
            )
        ]
    return Response(None, cookies=cookies, headers={"Cache-Control": "no-store"})


@get("/console/events", include_in_schema=False, guards=[Needs(Scope.OPERATE), only_from_this_site])
async def stream_events(
    feed: NamedDependency[Feed],
    drain: NamedDependency[Drain],
    keyring: NamedDependency[Keyring | None],
    caller: NamedDependency[Caller],
    currency: Annotated[str | None, QueryParameter(pattern=r"^[A-Z]{3}\Z")] = None,
) -> Stream:
    """Snapshots as server-sent events, until the reader leaves, its key is revoked, or this process drains.

    After a drain the browser reconnects to another process.
    """
    try:
        feed.check_room()
    except FullError:
        refuse(Refusal.OVERLOADED, f"{STREAMS_MAX} consoles are open at this api: try again, or close one.")

    def is_welcome() -> bool:
        return not drain.has_begun and (keyring is None or keyring.with_id(caller.id) is not None)

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(feed.events(currency, is_welcome), media_type="text/event-stream", headers=headers)
