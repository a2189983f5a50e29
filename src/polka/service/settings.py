"""Settings: `POLKA_…` variables become one frozen Struct, or a one-line failure with the name of the variable."""

import re
import socket
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from polka.service.failure import Failure

S = TypeVar("S", bound=msgspec.Struct)

Seconds = Annotated[float, Meta(ge=0.001, le=2_000_000)]
"""A timeout that Postgres also accepts. Postgres counts milliseconds in 31 bits, and 0 means no timeout."""
Count = Annotated[int, Meta(ge=1, le=10**9)]
DatabaseUrl = Annotated[str, Meta(description="Postgres, as `postgresql://user:password@host:port/name`.")]
CacheToken = Annotated[
    Annotated[str, Meta(min_length=16)] | None,
    Meta(description="Secret between apis and cache. Required unless `POLKA_NO_AUTH` is set."),
]
NoAuth = Annotated[bool, Meta(description="Ask nobody for keys: everybody is an operator. For local play only.")]
Name = Annotated[
    Annotated[str, Meta(max_length=64)],
    Meta(
        description="Name of this process in the console and the log. If empty, the console shows the name of the "
        "host, and the log the name of the service."
    ),
]
DrainSeconds = Annotated[
    float,
    Meta(ge=0, le=3600, description="Seconds that a stopping process still serves, for its clients to leave."),
]
AllowLossyDatabase = Annotated[
    bool, Meta(description="Accept a database with `fsync` or `synchronous_commit` off. For play only.")
]


def read(kind: type[S], environ: Mapping[str, str]) -> S:
    """The Struct, with each field `x` from the variable `POLKA_X`, converted and checked by its type.

    Raises:
        Failure: a variable is missing or invalid.
    """
    given = {
        field.name: environ[variable(field.name)]
        for field in msgspec.structs.fields(kind)
        if variable(field.name) in environ
    }
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Failure(explain(str(error))) from None


def own_name(name: str) -> str:
    return name or socket.gethostname()[:64]


def check_token(cache_token: str | None, no_auth: bool) -> None:
    """A secret has no default, and may only be left out on purpose.

    Raises:
        Failure: both the token and `no_auth` are missing.
    """
    if cache_token is None and not no_auth:
        raise Failure(f"{variable('cache_token')} is not set.")


def variable(field: str) -> str:
    return "POLKA_" + field.upper()


def explain(message: str) -> str:
    if missing := re.search(r"missing required field `(\w+)`", message):
        return f"{variable(missing[1])} is not set."
    fact, _, place = message.partition(" - at `$.")
    return f"{variable(place.rstrip('`'))}: {fact[0].lower()}{fact[1:]}."
