"""Requests that other sites may have caused in a browser. Without keys nothing else protects against them. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping


def refusal(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The reason for rejecting a request without a key: a page of another site made the request, or the Host is a
    foreign name."""
    given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    host = given.get("host", "")
    if is_from_elsewhere(given, host):
        return "This is answered to Polka's own pages, not to those of other sites."
    if not is_local(host):
        return "Without keys this is answered at localhost or an IP address, not at other names."
    return None


def is_from_elsewhere(headers: Mapping[str, str], host: str) -> bool:
    """Whether a page of another site made the request. Programs other than browsers send no such headers."""
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


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
