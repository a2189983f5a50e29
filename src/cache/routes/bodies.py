"""Bodies of requests to the cache."""

from typing import Any

from litestar import Request
from litestar.exceptions import ClientException


class BodyRequest(Request[Any, Any, Any]):
    """A request with too deeply nested JSON is the client's error."""

    async def json(self) -> Any:
        try:
            return await super().json()
        except RecursionError:
            raise ClientException("The body is nested too deeply.") from None
