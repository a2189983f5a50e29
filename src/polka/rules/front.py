"""The answer of the api at its address alone (`GET /`)."""

import msgspec


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
