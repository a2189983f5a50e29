"""The address of Polka alone (`/`): browsers are led to the console, and programs are told where everything is."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.response import Redirect

from api.routes.answers import Json
from polka import __version__

HEADERS = {"Vary": "Accept"}


class Links(msgspec.Struct, frozen=True):
    """Where to go on from here, as paths."""

    console: str = "/console"
    documentation: str = "/schema"
    openapi: str = "/schema/openapi.json"
    hello: str = "/hello"


class Front(msgspec.Struct, frozen=True):
    name: str
    version: str
    links: Links


@get("/", include_in_schema=False, sync_to_thread=False)
def show_front(request: Request[Any, Any, Any]) -> Response[Any]:
    """What Polka is and where its parts are. It needs no key."""
    if request.accept.best_match([MediaType.JSON, MediaType.HTML]) == MediaType.HTML:
        return Redirect("/console", status_code=303, headers=HEADERS)
    return Json(Front("polka", __version__, Links()), headers=HEADERS)
