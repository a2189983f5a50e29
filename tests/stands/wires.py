"""A wire to the cache with the test's own answers."""

from collections.abc import Callable

import httpx

from api.cache_client import CacheClient
from api.cache_wire import Headers, Reply, Wire

Handler = Callable[[httpx.Request], httpx.Response]


class Answered(Wire):
    """Answers calls over the wire with the handler."""

    def __init__(self, handler: Handler) -> None:
        super().__init__("http://cache", None, 1, 1, None, 1)
        self._handler = handler

    async def post(self, path: bytes, content: bytes, headers: Headers = ()) -> Reply:
        return self._answer(httpx.Request("POST", url_of(path), headers=list(headers), content=content))

    async def get(self, path: bytes, headers: Headers = (), seconds: float | None = None) -> Reply:
        return self._answer(httpx.Request("GET", url_of(path), headers=list(headers)))

    def _answer(self, request: httpx.Request) -> Reply:
        response = self._handler(request)
        return Reply(response.status_code, response.content)


def url_of(path: bytes) -> str:
    assert b" " not in path, "a blank ends the target of a request"
    return f"http://cache{path.decode()}"


def answered(handler: Handler, timeout: float = 5) -> CacheClient:
    """An api's way to the cache, with the handler as the cache."""
    client = httpx.AsyncClient(base_url="http://cache", transport=httpx.MockTransport(handler), timeout=timeout)
    return CacheClient(client, Answered(handler), 0, 1)
