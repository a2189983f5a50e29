"""Where nobody is asked for a key, a browser may be led astray: pages of other sites must reach nothing through it."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from api.access import EVERYBODY, caller_of
from api.problems import refuse
from api.refusals import Refusal


async def only_from_this_site(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard: no request that another site's page made; without keys, none to a name that may be anybody's either."""
    host = connection.headers.get("host", "")
    if is_from_elsewhere(connection.headers, host):
        refuse(Refusal.FORBIDDEN, "This is answered to Polka's own pages, not to those of other sites.")
    if caller_of(connection) is EVERYBODY and not is_local(host):
        refuse(Refusal.FORBIDDEN, "Without keys this is answered at localhost or an IP address, not at other names.")


def is_from_elsewhere(headers: Mapping[str, str], host: str) -> bool:
    """Whether a page of another site made the request; a program that is no browser does not say."""
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    return site not in ("none", "same-origin") or (origin is not None and origin.partition("://")[2] != host)


def is_local(host: str) -> bool:
    """Whether the name in a Host header is this machine's, or an address."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
