"""The address of Polka alone (`/`): browsers are redirected to the console, and programs get all addresses."""

from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.response import Redirect

from api.routes.answers import Json
from polka import __version__
from polka.rules.front import Front, Links

HEADERS = {"Vary": "Accept"}


@get("/", include_in_schema=False, sync_to_thread=False)
def show_front(request: Request[Any, Any, Any]) -> Response[Any]:
    """The name, the version and the addresses of this Polka. No key is necessary."""
    if request.accept.best_match([MediaType.JSON, MediaType.HTML]) == MediaType.HTML:
        return Redirect("/console", status_code=303, headers=HEADERS)
    return Json(Front("polka", __version__, Links()), headers=HEADERS)
