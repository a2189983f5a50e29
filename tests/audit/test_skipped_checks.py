"""Checks that a run of the audit skips: it counts and shows them, and does not pass for a clean one."""

import asyncpg
import pytest

from cache import metrics
from cache.chores import auditing as background
from cache.keeping.keeper import Keeper
from cache.settings import Settings
from falsehoods import close_two_and_settle_one
from polka.audit import runs, scans
from polka.audit.checks import CACHE_CHECK
from polka.rules.audits import Skipped

pytestmark = pytest.mark.anyio


async def test_a_memory_that_was_not_compared_is_counted_and_shown(
    auditing: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.0)
    starting = Keeper(Settings("", ""), None)  # type: ignore[arg-type]  # it connects to nothing
    run = await runs.run(auditing, 10, lambda: background.compare_memory(auditing, starting))
    assert run.faults == 0
    assert [one.check for one in run.skipped] == [CACHE_CHECK]
    background.show(run)
    assert metrics.AUDIT_SKIPPED._value.get() == 1
    assert CACHE_CHECK in caplog.text


async def test_a_window_that_is_too_large_for_a_run_is_shown(
    auditing: asyncpg.Connection,
    connection: asyncpg.Connection,
) -> None:
    await close_two_and_settle_one(connection)
    seen = await scans.go_on(auditing, "windows", 10**6)
    assert seen.skipped == []
    await connection.execute(f"UPDATE batches SET size = {scans.WINDOW_PAYMENTS_MAX} + 1 WHERE window_id = 2")
    seen = await scans.go_on(auditing, "windows", 10**6)
    reason = "window 2 has more than 100,000 payments: `polka audit` proves it"
    assert seen.skipped == [Skipped(scans.NETTING, reason)]
