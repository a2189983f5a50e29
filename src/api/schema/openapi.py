"""The description of the API (OpenAPI 3.1) and its pages, which need no other address.

Litestar finds the routes and their parameters; `description.py` adds what it cannot see; and the schemas of all bodies
come from msgspec, which is what checks them.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from api.http.access import Needs
from api.http.refusals import Problem, Refusal, Refused, problem
from api.schema.description import PARAMETERS, REFUSED_ANYWHERE, REFUSED_WITH_KEY, ROUTES, WAITS, Described
from polka import __version__

BEARER = "key"


class Document(JsonRenderPlugin):
    """`/schema/openapi.json`: what Litestar found, and what the table above says."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json")
        self._body: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        if self._body is None:
            guards = {
                (str(method), route.path_format): handler.resolve_guards()
                for route in request.app.routes
                if isinstance(route, HTTPRoute)
                for handler in route.route_handlers
                for method in handler.http_methods
            }
            self._body = msgspec.json.encode(described(openapi_schema, guards))
        return self._body


def described(found: dict[str, Any], guards: Mapping[tuple[str, str], Sequence[Any]]) -> dict[str, Any]:
    kinds, components = schemas()
    paths = {
        path: {
            method: operation | describe(ROUTES[method.upper(), path], operation, kinds, guards[method.upper(), path])
            for method, operation in operations.items()
        }
        for path, operations in found["paths"].items()
    }
    return found | {"paths": paths, "components": found["components"] | {"schemas": components}}


def schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    """The schema of each type in the table, and those that they refer to."""
    bodies = [body for route in ROUTES.values() for body in (*route.answers.values(), route.body) if body]
    types = list(dict.fromkeys([*(kind for body, _ in bodies for kind in kinds_of(body)), Problem]))
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, (ecma(reference) for reference in references), strict=True)), ecma(components)


def ecma(schema: Any) -> Any:
    """With patterns as JSON Schema has them, whose `$` matches at the very end alone."""
    if isinstance(schema, list):
        return [ecma(part) for part in schema]
    if isinstance(schema, dict):
        return {name: ecma(part) for name, part in schema.items()}
    return schema.replace(r"\Z", "$") if isinstance(schema, str) else schema


def describe(
    route: Described, operation: dict[str, Any], kinds: Mapping[Any, dict[str, Any]], guards: Sequence[Any]
) -> dict[str, Any]:
    """What is to be said of the operation instead of what Litestar made of it."""
    needs = [guard.scope.value for guard in guards if isinstance(guard, Needs)]
    parts: dict[str, Any] = {
        "parameters": ecma(operation.get("parameters", []))
        + [{"name": name, "required": False} | PARAMETERS[name] for name in (*route.parameters, *WAITS)],
        "responses": responses(route, kinds, is_open=not needs),
        "security": [{BEARER: []}] if needs else [],
    }
    text = operation["description"]
    parts["summary"] = text.partition("\n")[0].partition(":")[0].rstrip(".")
    if needs:
        parts["description"] = f"{text}\n\nThe key needs the scope `{needs[0]}`."
    if route.body:
        media = ["application/json"] + (["application/msgpack"] if route.message_pack else [])
        parts["requestBody"] = {"required": True, "content": {form: content(route.body, kinds) for form in media}}
    return parts


def responses(route: Described, kinds: Mapping[Any, dict[str, Any]], is_open: bool) -> dict[str, Any]:
    made: dict[str, dict[str, Any]] = {
        str(status): {"description": "Done", "content": {"application/json": content(answer, kinds)}}
        for status, answer in route.answers.items()
    }
    if route.csv:
        for response in made.values():
            response["content"]["text/csv"] = {"schema": {"type": "string"}}
    refusals = dict.fromkeys([*route.refusals, *REFUSED_ANYWHERE, *(() if is_open else REFUSED_WITH_KEY)])
    by_status: dict[int, list[Refusal]] = {}
    for refusal in refusals:
        by_status.setdefault(refusal.value.status, []).append(refusal)
    for status, same in by_status.items():
        document = {
            "schema": kinds[Problem],
            "examples": {refusal.value.code: {"value": example(refusal)} for refusal in same},
        }
        said = "; ".join(f"`{refusal.value.code}`: {refusal.value.title}" for refusal in same)
        response = made.setdefault(str(status), {"description": "", "content": {}})
        response["description"] = f"{response['description']} {said}".strip()
        response["content"]["application/problem+json"] = document
    return made


def content(answer: tuple[Any, Any], kinds: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    body, example = answer
    of = [kinds[kind] for kind in kinds_of(body)]
    schema = of[0] if len(of) == 1 else {"anyOf": of}
    return {"schema": schema} | ({} if example is None else {"example": example})


def kinds_of(body: Any) -> tuple[Any, ...]:
    return body if isinstance(body, tuple) else (body,)


def example(refusal: Refusal) -> Any:
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


CONFIG = OpenAPIConfig(
    title="Polka",
    version=__version__,
    description="A payments processor and clearing house. Amounts are whole numbers of minor units. Every answer has "
    "an `X-Request-ID`: the request's own, or one that Polka makes; the log names it.",
    path="/schema",
    render_plugins=[ScalarPage(), Document()],
    openapi_router=Router("/schema", route_handlers=[scalar], after_request=only_from_here, include_in_schema=False),
    components=Components(
        security_schemes={BEARER: SecurityScheme(type="http", scheme="bearer", description="`polka_…`")}
    ),
    create_examples=False,
    use_handler_docstrings=True,
    operation_id_creator=lambda handler, *_: handler.handler_name,
)
