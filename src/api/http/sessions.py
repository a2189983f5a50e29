"""Sessions of the console: a cookie that any api can check, and that stands for a key while that is in force. Pure.

A browser cannot send a header along with a stream of events. So it trades its key for a cookie that only ever reads.
"""

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

COOKIE = "polka_console"
PREFIX = f"{COOKIE}=".encode()
SECONDS = 3600
"""How long one lasts; a page that is still open then trades its key again."""


def sign(secret: str, key_id: str, until: int) -> str:
    """The session of a key up to that second of the Unix epoch."""
    said = f"{key_id}.{until}"
    return f"{said}.{code(secret, said)}"


def key_of(secret: str, session: str, now: float) -> str | None:
    """The id of the key that it stands for; None for what was not signed so, and once it is over."""
    said, _, signed = session.rpartition(".")
    if not hmac.compare_digest(signed.encode(), code(secret, said).encode()):
        return None
    key_id, _, until = said.partition(".")
    return key_id if now < int(until) else None


def code(secret: str, said: str) -> str:
    return hmac.new(secret.encode(), f"polka console session {said}".encode(), hashlib.sha256).hexdigest()


def in_cookies(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The session that a request's cookies have. No other pair is parsed, because thousands of them would take long."""
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
