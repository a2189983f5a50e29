"""The yardsticks: Litestar handlers without work, served like Polka's api. One reads a payment's JSON.

They stand behind the api's middleware: keys are checked, limits kept, requests identified and counted in the same way.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar, get, post
from litestar.params import JSONBody

from api.http.access import Access
from api.http.key_uses import open_key_uses
from api.http.keyring import open_keyring
from api.http.limits import Limits
from api.routes.health import hello
from api.settings import Settings
from polka.edge import server
from polka.edge.drain import Drain
from polka.edge.server import Service
from polka.local.processes import Process
from polka.local.up import HOST, Running, answers
from polka.service import settings
from polka.service.instrumentation import Instrumented
from polka.store import database
from polka.store.writers import open_writers


@post("/transaction", status_code=201)
async def do_nothing(data: JSONBody[dict[str, Any]]) -> dict[str, str]:
    return {"status": "accepted"}


@get("/nothing")
async def read_nothing() -> dict[str, str]:
    return {"status": "nothing"}


@asynccontextmanager
async def app() -> AsyncIterator[Service]:
    chosen = settings.read(Settings, os.environ)
    litestar = Litestar(route_handlers=[do_nothing, read_nothing, hello], logging_config=None)
    async with (
        database.pool(chosen.database_url, "no-op", 1, chosen.commit_timeout_seconds) as pool,
        open_keyring(chosen, pool) as keyring,
        open_writers(chosen.database_url, "no-op writes", 1, chosen.commit_timeout_seconds) as writers,
        open_key_uses(writers) as uses,
        litestar.lifespan(),
    ):
        limits = Limits(chosen.rate_per_second, chosen.rate_burst)
        answering = Instrumented(Access(litestar, keyring, uses, limits, chosen.cache_token))
        yield Service(answering, Drain(chosen.drain_seconds), lambda: None)


def process(port: int, running: Running) -> Process:
    """The yardstick, as its own process on this port. It knows the keys of `running`."""
    url = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "bench.noop", str(port)]
    environ = {"POLKA_DATABASE_URL": running.database_url}
    return Process("no-op", command, url, is_ready=partial(answers, f"{url}/hello"), environ=environ)


if __name__ == "__main__":
    server.run("bench.noop:app", server.listen_for_all(HOST, int(sys.argv[1])))
