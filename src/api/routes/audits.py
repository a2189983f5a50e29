"""The audit (`/audit`): what its last runs found."""

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
    """The last runs of the audit, the newest first, and how long ago the newest ended.

    The cache runs it in the background; this asks the database. A run without `faults` and `skipped` has proved all
    that was posted up to its flush. What it has found tells what must be and what is, in minor units, or 1 and 0 for
    yes and no. Checks that it could not make are in `skipped`, each with the reason.
    """
    return await runs.list_runs(pool, limit)
