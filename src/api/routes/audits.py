"""The audit (`/audit`): its last runs."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from api.http.access import Needs
from polka.audit import runs
from polka.rules.audits import Runs
from polka.rules.keys import Scope
from polka.store.database import Pool


@get("/audit", tags=["Audit"], guards=[Needs(Scope.OPERATE)])
async def list_audit_runs(
    pool: NamedDependency[Pool],
    limit: Annotated[int, QueryParameter(description="The most to answer.", ge=1, le=100)] = 10,
) -> Runs:
    """The last runs of the audit, the newest first, and the time since the end of the newest.

    The cache runs the audit in the background. This route reads the database. A run without `faults` and `skipped` has
    proved everything posted up to its flush. A finding has the expected and the found number: minor units of its
    `currency`, or 1 and 0 for yes and no. `skipped` has the checks without a result, with the reason.
    """
    return await runs.list_runs(pool, limit)
