"""The check of queries keeps nothing of a request."""

import gc

from litestar import Litestar, get
from litestar.handlers import BaseRouteHandler
from litestar.testing import TestClient

from api.routes.queries import check_query


@get("/nothing", guards=[check_query])
async def nothing() -> None: ...


def test_no_request_with_a_query_leaves_anything_behind() -> None:
    with TestClient(Litestar([nothing])) as client:
        assert client.get("/nothing?timeout=1s").status_code == 200
        before = route_handlers()
        for _ in range(20):
            client.get("/nothing?timeout=1s")
        assert route_handlers() == before


def route_handlers() -> int:
    """Litestar makes a copy for each request."""
    gc.collect()
    return sum(isinstance(one, BaseRouteHandler) for one in gc.get_objects())
