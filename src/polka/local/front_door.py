"""A command's way to an api: one request, and one line for what is refused.

An https URL is verified by the authorities of the system, or by those in the file SSL_CERT_FILE.
"""

import ssl
from typing import Any, TypeVar

import httpx
import msgspec

from polka.edge import tls
from polka.service.failure import Failure

TIMEOUT_SECONDS = 30.0
UNAUTHORIZED = 401

T = TypeVar("T")


async def ask(url: str, key: str | None, method: str, path: str, answer: type[T], body: Any = None) -> T:
    """What the api answers.

    Raises:
        Failure: it does not answer, or refuses.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            headers=headers,
            trust_env=False,
            verify=ssl.create_default_context() if tls.verifies(url) else False,
        ) as client:
            response = await client.request(method, f"{url.rstrip('/')}{path}", json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Failure(f"{url} does not answer: {str(error) or type(error).__name__}") from None
    if response.status_code == UNAUTHORIZED:
        raise Failure(f"{url} wants {'another' if key else 'a'} key: set POLKA_KEY or pass --key.")
    try:
        if response.is_success:
            return msgspec.json.decode(response.content, type=answer)
        detail = msgspec.json.decode(response.content, type=Problem).detail
    except ValueError:
        raise Failure(f"{url} is no Polka: it answers {response.status_code} to {method} {path}.") from None
    raise Failure(detail)


class Problem(msgspec.Struct):
    """Of a problem document (RFC 9457) what a person reads."""

    detail: str
