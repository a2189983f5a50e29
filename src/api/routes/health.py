"""`/hello` for clients, and the place of health and metrics."""

from litestar import get

from api.http.problems import refuse
from api.http.refusals import Refusal
from polka.edge import monitoring


@get("/hello", tags=["Service"], sync_to_thread=False)
def hello() -> dict[str, str]:
    """Polka is here."""
    return {"hello": "polka"}


@get(monitoring.PATHS, include_in_schema=False, sync_to_thread=False)
def elsewhere() -> None:
    """Older versions answered these paths here."""
    refuse(Refusal.NOT_FOUND, monitoring.ELSEWHERE)
