"""`/hello` for clients, and the two switches for whoever runs the process."""

import asyncio

from litestar import Response, get
from litestar.di import NamedDependency

from polka import database
from polka.database import Pool
from polka.server import Drain

READY_SECONDS = 1.0


@get("/hello", sync_to_thread=False)
def hello() -> dict[str, str]:
    """Polka is here."""
    return {"hello": "polka"}


@get("/health/live", sync_to_thread=False)
def live() -> dict[str, str]:
    """The process answers; says nothing of the database."""
    return {"status": "live"}


@get("/health/ready")
async def ready(pool: NamedDependency[Pool], drain: NamedDependency[Drain]) -> Response[dict[str, str]]:
    """The process can serve: its database answers, and nobody has told it to stop."""
    if drain.has_begun:
        return Response({"status": "draining"}, status_code=503)
    try:
        async with asyncio.timeout(READY_SECONDS):
            await pool.fetchval("SELECT 1")
    except database.ERRORS:
        return Response({"status": "the database does not answer"}, status_code=503)
    return Response({"status": "ready"})
