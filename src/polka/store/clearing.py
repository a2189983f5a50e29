"""Reads clearing windows from the database."""

from typing import Any

from polka.rules.netting import Netting
from polka.rules.windows import Report, Total, Window
from polka.store.database import Pool

WINDOW = "SELECT * FROM windows WHERE id = $1"
WINDOWS = "SELECT * FROM windows WHERE $1::bigint IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"
REPORT = """
SELECT windows.*, bank, currency, debits, credits, count, fees, interest
FROM windows LEFT JOIN window_totals ON window_id = id AND ($2::text IS NULL OR bank = $2)
WHERE id = $1 ORDER BY bank, currency
"""
"""One statement, and therefore one snapshot of the window and its totals."""
NETTING = "SELECT * FROM window_netting WHERE window_id = $1 ORDER BY currency"
"""Netting figures never change, so a later snapshot is fine."""


async def windows(pool: Pool, before: int | None, limit: int) -> list[Window]:
    """The newest first. With `before`, only earlier windows."""
    return [window_of(row) for row in await pool.fetch(WINDOWS, before, limit)]


async def exists(pool: Pool, window: int) -> bool:
    return window < 2**63 and bool(await pool.fetchval("SELECT 1 FROM windows WHERE id = $1", window))


async def report(pool: Pool, window: int, bank: str | None) -> Report | None:
    """The window with its totals and netting figures, or with the totals of `bank`; None if the window does not
    exist."""
    rows = await pool.fetch(REPORT, window, bank) if window < 2**63 else []
    if not rows:
        return None
    totals = [total_of(row) for row in rows if row["bank"] is not None]
    netting = None
    if rows[0]["is_netted"] and bank is None:
        netting = [netting_of(row) for row in await pool.fetch(NETTING, window)]
    return Report(**fields_of(rows[0]), totals=totals, netting=netting)


def window_of(row: Any) -> Window:
    return Window(**fields_of(row))


def fields_of(row: Any) -> dict[str, Any]:
    """The fields of the window itself."""
    fields = {name: row[name] for name in Window.__struct_fields__}
    return fields | {name: str(row[name]) for name in ("settlement", "interest_batch") if row[name]}


def total_of(row: Any) -> Total:
    amounts = {name: int(row[name]) for name in ("debits", "credits", "count", "fees", "interest")}
    return Total(row["bank"], row["currency"], **amounts, net=amounts["credits"] - amounts["debits"])


def netting_of(row: Any) -> Netting:
    gross, bilateral, multilateral = int(row["gross"]), int(row["bilateral"]), int(row["multilateral"])
    return Netting(row["currency"], gross, bilateral, multilateral, gross - multilateral)
