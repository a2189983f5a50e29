"""The yardstick: a Litestar handler that reads a payment's JSON and does nothing, served as Polka serves its api."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar, post
from litestar.params import JSONBody
from litestar.types import ASGIApp

from api.health import live
from polka import server
from polka.exposition import CountRequests
from polka.processes import Process
from polka.up import HOST, answers


@post("/transaction", status_code=201)
async def do_nothing(data: JSONBody[dict[str, Any]]) -> dict[str, str]:
    return {"status": "accepted"}


@asynccontextmanager
async def app() -> AsyncIterator[ASGIApp]:
    litestar = Litestar(route_handlers=[do_nothing, live], logging_config=None)
    async with litestar.lifespan():
        yield CountRequests(litestar)


def process(port: int) -> Process:
    """It, as a process of its own on this port."""
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "bench.noop", str(port)]
    return Process("no-op", command, url, is_ready=partial(answers, f"{url}/health/live"))


if __name__ == "__main__":
    server.run("bench.noop:app", [server.listen(HOST, int(sys.argv[1]))])
