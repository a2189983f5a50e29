"""Checks a request's query: its route knows each parameter, and no parameter is repeated. Misspelt parameters are
rejected."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from litestar.typing import FieldDefinition

from api.http.problems import refuse
from api.http.refusals import Refusal
from api.routes.requests import OWN_HEAD, query_of

BYTES_MAX = 4096
"""Longer than any query of known parameters. Litestar remembers a thousand queries."""
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")
"""As in JSON. Conversions of Python and msgspec also take `1e2`, ` 1`, `+1`, `1_000` and digits of other scripts."""

DECLARED: dict[Callable[..., Any], Mapping[str, type]] = {}
"""The parameters of each route, by its function. A guard gets a copy of the route's handler with each request."""


async def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of all routes."""
    check_path(connection)
    query = connection.scope["query_string"]
    if not query or OWN_HEAD.keys() <= handler.opt.keys():
        return
    if len(query) > BYTES_MAX:
        refuse(Refusal.INVALID, f"The query is longer than {BYTES_MAX} bytes.")
    check(query_of(query), declared(handler))


def check_path(connection: ASGIConnection[Any, Any, Any, Any]) -> None:
    """Check that a number in the path has its usual form."""
    segments = connection.scope["path"].split("/")
    for value in connection.scope["path_params"].values():
        if isinstance(value, int) and str(value) not in segments:
            refuse(Refusal.NOT_FOUND, "There is no such route.")


def check(query: Mapping[str, list[str]], known: Mapping[str, type]) -> None:
    """Check that all parameters are known and given once, and that whole numbers are whole numbers.

    msgspec reads `null` as no value for an optional parameter other than text. A page's `cursor=null` would always be
    the first page.

    Raises:
        RefusedError: a parameter is invalid.
    """
    for name, values in query.items():
        if name not in known:
            refuse(Refusal.INVALID, f"{name}: is not a parameter here.", name)
        if len(values) > 1:
            refuse(Refusal.INVALID, f"{name}: is given more than once.", name)
        if known[name] is int and not WHOLE_NUMBER.fullmatch(values[0]):
            refuse(Refusal.INVALID, f"{name}: must be a whole number.", name)
        if known[name] is not str and values[0].lower() == "null":
            refuse(Refusal.INVALID, f"{name}: must not be null.", name)


def declared(handler: BaseRouteHandler) -> Mapping[str, type]:
    """The query parameters of the route's function by name, each as int, str, or object for other types."""
    if (known := DECLARED.get(handler.fn)) is None:
        known = DECLARED[handler.fn] = dict(parameters_of(handler))
    return known


def parameters_of(handler: BaseRouteHandler) -> Iterator[tuple[str, type]]:
    yield "timeout", str
    providers = handler.resolve_dependencies()
    for name, field in handler.parsed_fn_signature.parameters.items():
        yield from parameters(name, field)
        if name in providers:
            for own_name, own in providers[name].parsed_fn_signature.parameters.items():
                yield from parameters(own_name, own)


def parameters(name: str, field: FieldDefinition) -> Iterator[tuple[str, type]]:
    if isinstance(kind := field.kwarg_definition, QueryParameter):
        yield kind.name or name, kind_of(field)


def kind_of(field: FieldDefinition) -> type:
    kinds = field.inner_types if field.is_union else (field,)
    return next((kind for kind in (int, str) if any(one.is_subclass_of(kind) for one in kinds)), object)
