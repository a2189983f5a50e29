"""A request's query has parameters that its route knows, each once: a misspelt one is refused, not passed over."""

from collections.abc import Collection, Sequence
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from api.access import OPEN
from api.problems import refuse
from api.refusals import Refusal

OWN_QUERY = "reads_its_query"
"""The option of a route that reads its query by itself, and refuses what it does not know."""


async def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of all routes that need a key."""
    if connection.scope["query_string"] and OWN_QUERY not in handler.opt and not OPEN.match(connection.scope["path"]):
        check_names([name for name, _ in connection.query_params.multi_items()], declared(handler))


def declared(handler: BaseRouteHandler) -> list[str]:
    """The names of the query parameters that the route's function takes."""
    parameters = handler.parsed_fn_signature.parameters
    kinds = [(name, parameter.kwarg_definition) for name, parameter in parameters.items()]
    return [kind.name or name for name, kind in kinds if isinstance(kind, QueryParameter)]


def check_names(given: Sequence[str], known: Collection[str]) -> None:
    """See that all names are known, and none is given twice.

    Raises:
        RefusedError: one is not.
    """
    for name in given:
        if name not in known:
            refuse(Refusal.INVALID, f"{name}: is not a parameter here.", name)
        if given.count(name) > 1:
            refuse(Refusal.INVALID, f"{name}: is given more than once.", name)
