"""Resources that pages of other sites may not reach through a user's browser."""

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.http.problems import refuse
from api.http.refusals import Refusal
from polka.rules.same_site import is_from_elsewhere


async def only_from_this_site(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard: rejects requests that another site's page made."""
    if is_from_elsewhere(connection.headers, connection.headers.get("host", "")):
        refuse(Refusal.FORBIDDEN, "This is answered to Polka's own pages, not to those of other sites.")
