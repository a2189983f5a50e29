"""The common parts of both clients: the address, the key, TLS and bounds, and the words for a failed connection."""

import inspect
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlsplit

import httpx

from polka import __version__
from polka.client.calls import Call
from polka.client.exchange import Answer, Attempt, Cause, Patience, Silence
from polka.rules.facts import fact
from polka.rules.keys import is_key

URL = "http://127.0.0.1:8000"
CONNECTIONS_MAX = 20
TIMEOUT_SECONDS, DEADLINE_SECONDS = 10.0, 30.0
ATTEMPT_SECONDS_MAX = 300.0
"""Polka lets a request wait for five minutes at most."""

TRUST = "Pass the file of its authority as verify=…."
"""The advice if a certificate is not trusted."""
FAILURES = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.DecodingError)
"""Exceptions of an attempt without an answer."""


@dataclass(frozen=True)
class Connection:
    """Where a client sends its requests, and how."""

    url: str
    patience: Patience
    settings: Mapping[str, Any]
    """Of httpx."""

    def request(self, call: Call[Any], attempt: Attempt) -> dict[str, Any]:
        """The arguments of httpx for one attempt."""
        seconds = attempt.timeout_seconds
        headers = {**call.headers, "Request-Timeout": attempt.told}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return {
            "method": call.method,
            "url": f"{self.url}{call.path}",
            "content": call.body,
            "headers": headers,
            "timeout": httpx.Timeout(seconds),
        }


def connection(
    url: str,
    key: str | None,
    timeout_seconds: float,
    deadline_seconds: float,
    attempts_max: int | None,
    connections_max: int,
    verify: str | ssl.SSLContext | None,
) -> Connection:
    """The arguments of a client, checked.

    Raises:
        ValueError: an argument is invalid. The key is not in the message.
    """
    address = checked_address(url)
    if key is not None and not is_key(key):
        raise ValueError("key: must be polka_ and 40 hexadecimal digits in lower case.")
    if not 0 < timeout_seconds <= ATTEMPT_SECONDS_MAX:
        raise ValueError(f"timeout_seconds: must be above 0 and at most {ATTEMPT_SECONDS_MAX:.0f}.")
    if not deadline_seconds > 0:
        raise ValueError("deadline_seconds: must be above 0.")
    if attempts_max is not None and attempts_max < 1:
        raise ValueError("attempts_max: must be at least 1.")
    if connections_max < 1:
        raise ValueError("connections_max: must be at least 1.")
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"polka-client/{__version__}",
        **({"Authorization": f"Bearer {key}"} if key else {}),
    }
    settings = {
        "headers": headers,
        "limits": httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
        "trust_env": False,
        "verify": encryption(verify) if address.startswith("https:") else False,
    }
    return Connection(address, Patience(timeout_seconds, deadline_seconds, attempts_max), settings)


def checked_address(url: str) -> str:
    """The URL without a slash at its end. A key or a password in the URL does not get into the message."""
    try:
        parts = urlsplit(url)
        httpx.URL(url).host.encode("idna")  # as httpx and the system do for each request
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except (ValueError, httpx.InvalidURL):
        is_address = False
    if not is_address:
        raise ValueError("url: must be an address as http://127.0.0.1:8000 or https://polka.example.com.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("url: must have no user, no query and no fragment.")
    return url.rstrip("/")


def encryption(verify: str | ssl.SSLContext | None) -> ssl.SSLContext:
    """The TLS for a file of authorities, a whole context, or the authorities of the system."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        raise ValueError(f"verify: {verify} holds no certificates in PEM, or cannot be read: {error}") from None


def answer(response: httpx.Response) -> Answer:
    return Answer(response.status_code, response.content, response.headers.get("Retry-After"))


def silence(error: Exception) -> Silence:
    """Why there is no answer: whether the request was sent, and the reason in words."""
    causes = chain(error)
    if refused := next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None):
        return Silence(
            Cause.UNTRUSTED,
            f"its certificate is not trusted: {refused.verify_message}. {TRUST}",
        )
    failed = next((one for one in causes if isinstance(one, ssl.SSLError)), None)
    if failed and isinstance(error, httpx.ConnectError):
        return Silence(Cause.UNTRUSTED, f"TLS has failed: {failed.reason or failed}. Does it listen for https?")
    if isinstance(error, httpx.PoolTimeout):
        return Silence(Cause.BUSY, "all connections of this client are in use.")
    if isinstance(error, httpx.ConnectTimeout):
        return Silence(Cause.UNREACHED, "no connection in time.")
    if isinstance(error, httpx.ConnectError):
        return Silence(Cause.UNREACHED, f"{fact(error)}. Is Polka running there?")
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        return Silence(Cause.LOST, "no answer in time.")
    return Silence(Cause.LOST, f"the connection broke: {fact(error)}.")


def chain(error: BaseException | None) -> list[BaseException]:
    """The error and its causes."""
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def returning(call: Callable[..., Any], shape: Any = None) -> inspect.Signature:
    """The signature of a method, for `help`: the call's own, with its result, or with this shape of its items."""
    signature = inspect.signature(call)
    [result] = get_args(signature.return_annotation)
    return signature.replace(return_annotation=shape[result] if shape else result)
