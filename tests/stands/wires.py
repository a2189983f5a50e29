"""A wire to the cache that a test answers itself."""

from collections.abc import Callable

import httpx

from api.cache_client import CacheClient
from api.cache_wire import Headers, Reply, Wire

Handler = Callable[[httpx.Request], httpx.Response]


class Answered(Wire):
    """Has the handler answer what goes by the wire."""

    def __init__(self, handler: Handler) -> None:
        super().__init__("http://cache", None, 1, 1, None)
        self._handler = handler

    async def post(self, path: bytes, content: bytes, headers: Headers = ()) -> Reply:
        url = f"http://cache{path.decode()}"
        response = self._handler(httpx.Request("POST", url, headers=list(headers), content=content))
        return Reply(response.status_code, response.content)


def answered(handler: Handler, timeout: float = 5) -> CacheClient:
    """An api's way to the cache, where the handler is the cache."""
    client = httpx.AsyncClient(base_url="http://cache", transport=httpx.MockTransport(handler), timeout=timeout)
    return CacheClient(client, Answered(handler), 0, 1)
