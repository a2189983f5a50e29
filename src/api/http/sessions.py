"""Sessions of the console: a cookie that any api can check. It stands for a key while the key is in force. Pure.

A browser cannot send a header with a stream of events. Therefore it exchanges its key for a cookie that can only read.
"""

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

COOKIE = "polka_console"
PREFIX = f"{COOKIE}=".encode()
SECONDS = 3600
"""The lifetime of a session. A page that is still open then exchanges its key again."""


def sign(secret: str, key_id: str, until: int) -> str:
    """The session of a key up to this second of the Unix epoch."""
    said = f"{key_id}.{until}"
    return f"{said}.{code(secret, said)}"


def key_of(secret: str, session: str, now: float) -> str | None:
    """The id of the session's key; None if the signature is invalid or the session has expired."""
    said, _, signed = session.rpartition(".")
    if not hmac.compare_digest(signed.encode(), code(secret, said).encode()):
        return None
    key_id, _, until = said.partition(".")
    return key_id if now < int(until) else None


def code(secret: str, said: str) -> str:
    return hmac.new(secret.encode(), f"polka console session {said}".encode(), hashlib.sha256).hexdigest()


def in_cookies(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The session in a request's cookies. Other cookies are not parsed, because thousands of cookies would take
    long."""
    for name, value in headers:
        if name == b"cookie":
            for pair in value.split(b";"):
                if pair.lstrip().startswith(PREFIX):
                    return read(pair.decode("latin-1"))
    return None


def read(pair: str) -> str | None:
    try:
        found = SimpleCookie(pair).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None
