"""The description of the API (OpenAPI 3.1) and its pages. The pages load nothing from other addresses.

Litestar finds the routes, their parameters and the types of their answers. `routes/described.py` adds what a signature
does not say. The schemas of all bodies come from msgspec, because msgspec checks the bodies.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from types import UnionType
from typing import Any, get_args

import msgspec
from litestar import Request, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme, Tag
from litestar.routes import HTTPRoute

from api.http.access import Needs
from api.http.refusals import Refusal, Refused, problem
from api.routes.described import OPTION, Described
from api.schema.parameters import EVERYWHERE, PARAMETERS
from polka import __version__
from polka.rules.problem import Problem

BEARER = "key"

REFUSED_ANYWHERE = (
    Refusal.INVALID,
    Refusal.MALFORMED,
    Refusal.TOO_LARGE,
    Refusal.SLOW,
    Refusal.URL_TOO_LONG,
    Refusal.HEADERS_TOO_LARGE,
    Refusal.UNSUPPORTED_ENCODING,
    Refusal.OVERLOADED,
    Refusal.TIMEOUT,
    Refusal.INTERNAL,
)
REFUSED_WITH_KEY = (Refusal.UNAUTHORIZED, Refusal.FORBIDDEN, Refusal.RATE_LIMITED, Refusal.DATABASE_AWAY)
REFUSED_TO_WRITERS = (Refusal.OUTCOME_UNKNOWN, Refusal.OUTCOME_UNKNOWN_IN_TIME)


class Operation:
    """A method of a path, as its handler says."""

    def __init__(self, path: str, method: str, handler: HTTPRouteHandler) -> None:
        self.title = handler.handler_name.replace("_", " ").capitalize()
        self.added: Described = handler.opt.get(OPTION, Described())
        self.scopes = [guard.scope.value for guard in handler.resolve_guards() if isinstance(guard, Needs)]
        self.answers = {handler.status_code: answer_of(handler), **self.added.also}
        self.examples = examples().get(f"{method} {path}", {})
        self.refusals = dict.fromkeys(
            [
                *self.added.refusals,
                *((Refusal.NOT_FOUND,) if "{" in path else ()),
                *(REFUSED_TO_WRITERS if method != "GET" else ()),
                *REFUSED_ANYWHERE,
                *(REFUSED_WITH_KEY if self.scopes else ()),
            ]
        )


def answer_of(handler: HTTPRouteHandler) -> Any:
    """The type of the body. A union stands for several types."""
    returned = handler.parsed_fn_signature.return_type
    return returned.inner_types[0].annotation if returned.is_subclass_of(Response) else returned.annotation


@cache
def examples() -> dict[str, dict[str, Any]]:
    """By method and path: the `request` and the answers by their status. `docs/api_examples.py` writes the file."""
    found: dict[str, dict[str, Any]] = msgspec.json.decode(files("api.schema").joinpath("examples.json").read_bytes())
    return found


Operations = Mapping[tuple[str, str], Operation]
"""By path and method."""


class Document(JsonRenderPlugin):
    """`/schema/openapi.json`: Litestar's findings, and the additions of the routes."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json")
        self._body: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._body is None:
            operations = {
                (route.path_format, str(method).lower()): Operation(route.path_format, str(method), handler)
                for route in request.app.routes
                if isinstance(route, HTTPRoute)
                for handler in route.route_handlers
                if handler.resolve_include_in_schema()
                for method in handler.http_methods
            }
            self._body = msgspec.json.encode(described(openapi_schema, operations))
        return self._body


def described(found: dict[str, Any], operations: Operations) -> dict[str, Any]:
    schemas, components = schemas_of(operations.values())
    paths = {
        path: {method: said | describe(operations[path, method], said, schemas) for method, said in methods.items()}
        for path, methods in found["paths"].items()
    }
    return found | {"paths": paths, "components": found["components"] | {"schemas": components}}


def schemas_of(operations: Iterable[Operation]) -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """The schema of each type in the operations, and the schemas of referenced types."""
    bodies = [body for operation in operations for body in (*operation.answers.values(), operation.added.body) if body]
    types = list(dict.fromkeys([*(kind for body in bodies for kind in kinds_of(body)), Problem]))
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, map(ecma, references), strict=True)), ecma(components)


def kinds_of(body: Any) -> tuple[Any, ...]:
    return get_args(body) if isinstance(body, UnionType) else (body,)


def ecma(schema: Any) -> Any:
    """With patterns as JSON Schema has them, whose `$` matches at the very end alone, and with a type everywhere.

    Scalar reports schemas without a type as errors.
    """
    if isinstance(schema, list):
        return [ecma(part) for part in schema]
    if isinstance(schema, dict):
        return typed({name: ecma(part) for name, part in schema.items()})
    return schema.replace(r"\Z", "$") if isinstance(schema, str) else schema


def typed(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        return {"type": "string"} | schema
    if "anyOf" not in schema:
        return schema
    kinds: list[dict[str, Any]] = [kind for kind in schema["anyOf"] if kind != NULL]
    is_nullable = len(kinds) < len(schema["anyOf"])
    if len(kinds) > 1 or "$ref" in kinds[0]:  # objects
        return schema | {"type": ["object", "null"] if is_nullable else "object"}
    rest = {name: part for name, part in schema.items() if name != "anyOf"}
    values = {"enum": [*kinds[0]["enum"], None]} if "enum" in kinds[0] else {}
    return kinds[0] | rest | values | {"type": [kinds[0]["type"], "null"]}


NULL = {"type": "null"}


def describe(operation: Operation, said: dict[str, Any], schemas: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """Replacements and additions to Litestar's description of the operation."""
    own = [{"name": name, "required": False} | PARAMETERS[name] for name in (*operation.added.parameters, *EVERYWHERE)]
    parts: dict[str, Any] = {
        "summary": operation.title,
        "parameters": ecma([*map(parameter_of, said.get("parameters", [])), *own]),
        "responses": responses(operation, schemas),
        "security": [{BEARER: []}] if operation.scopes else [],
    }
    if operation.scopes:
        parts["description"] = f"{said['description']}\n\nThe key needs the scope `{operation.scopes[0]}`."
    if operation.added.body:
        media = ["application/json"] + (["application/msgpack"] if operation.added.message_pack else [])
        body = content(operation.added.body, operation.examples.get("request"), schemas)
        parts["requestBody"] = {"required": True, "content": dict.fromkeys(media, body)}
    return parts


def parameter_of(found: dict[str, Any]) -> dict[str, Any]:
    """A parameter may be left out but is never null, and it is deprecated if its schema is."""
    schema = dict(found["schema"])
    for kind in schema.pop("oneOf", ()):
        if kind != NULL:
            schema |= kind
    if None in schema.get("enum", ()):
        schema |= {"type": "string", "enum": [value for value in schema["enum"] if value is not None]}
    return found | {"schema": schema, "deprecated": schema.get("deprecated", False)}


def responses(operation: Operation, schemas: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, dict[str, Any]] = {
        str(status): {
            "description": "Done",
            "content": {"application/json": content(answer, operation.examples.get(str(status)), schemas)},
        }
        for status, answer in operation.answers.items()
    }
    if operation.added.csv:
        for response in made.values():
            response["content"]["text/csv"] = {"schema": {"type": "string"}}
    by_status: dict[int, list[Refusal]] = {}
    for refusal in operation.refusals:
        by_status.setdefault(refusal.value.status, []).append(refusal)
    for status, same in by_status.items():
        document = {
            "schema": schemas[Problem],
            "examples": {refusal.value.code: {"value": problem_of(refusal)} for refusal in same},
        }
        said = "; ".join(f"`{refusal.value.code}`: {refusal.value.title}" for refusal in same)
        response = made.setdefault(str(status), {"description": "", "content": {}})
        response["description"] = f"{response['description']} {said}".strip()
        response["content"]["application/problem+json"] = document
    return made


def content(body: Any, example: Any, schemas: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    kinds = [schemas[kind] for kind in kinds_of(body)]
    schema = kinds[0] if len(kinds) == 1 else typed({"anyOf": kinds})
    return {"schema": schema} | ({} if example is None else {"example": example})


def problem_of(refusal: Refusal) -> Any:
    return msgspec.to_builtins(problem(Refused(refusal, refusal.value.title + "."), None))


SCALAR = "scalar-1.46.4.js.gz"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Polka's API</title>
<link rel="icon" href="data:,">
</head>
<body>
<noscript>The description itself is at <a href="/schema/openapi.json">/schema/openapi.json</a>.</noscript>
<script id="api-reference" data-url="/schema/openapi.json"
        data-configuration='{"withDefaultFonts": false, "telemetry": false, "hideClientButton": true,
            "agent": {"disabled": true}, "mcp": {"disabled": true}, "showDeveloperTools": "never",
            "authentication": {"preferredSecurityScheme": "key"}}'></script>
<script src="/schema/scalar.js"></script>
</body>
</html>
"""
NOTHING_FROM_ELSEWHERE = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


class ScalarPage(OpenAPIRenderPlugin):
    """`/schema`: the description as pages, by Scalar, which is served from here."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return PAGE.encode()


@get("/scalar.js", include_in_schema=False, sync_to_thread=False)
def scalar() -> Response[bytes]:
    headers = {"Content-Encoding": "gzip", "Cache-Control": "max-age=86400"}
    return Response(script(), media_type="text/javascript", headers=headers)


@cache
def script() -> bytes:
    return files("api.schema").joinpath("static", SCALAR).read_bytes()


def only_from_here(response: Response[Any]) -> Response[Any]:
    response.headers["Content-Security-Policy"] = NOTHING_FROM_ELSEWHERE
    return response


TAGS = {
    "Payments": "Making, finding, amending and deleting payments.",
    "Banks": "Banks, their positions and accounts, and the terms that are agreed with them.",
    "Clearing": "Windows of payments that are cleared and settled together.",
    "Liquidity": "What Polka owes, is owed and holds.",
    "Currencies": "Currencies, exchange rates and conversions.",
    "Keys": "API keys for operators.",
    "Audit": "What the audit has found.",
    "Drills": "Killing a process of a local Polka, to see that nothing is lost.",
    "Service": "Whether an api answers.",
}
CONFIG = OpenAPIConfig(
    title="Polka",
    version=__version__,
    description="A payments processor and clearing house. Amounts are whole numbers of minor units. Every answer has "
    "an `X-Request-ID`: the request's own, or one that Polka makes; the log names it.",
    path="/schema",
    render_plugins=[ScalarPage(), Document()],
    openapi_router=Router("/schema", route_handlers=[scalar], after_request=only_from_here, include_in_schema=False),
    tags=[Tag(name, description) for name, description in TAGS.items()],
    components=Components(
        security_schemes={BEARER: SecurityScheme(type="http", scheme="bearer", description="`polka_…`")}
    ),
    create_examples=False,
    use_handler_docstrings=True,
    operation_id_creator=lambda handler, *_: handler.handler_name,
)
