"""What a page of a search reads of a million rows, as Postgres itself counts it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from api.routes import search
from api.routes.search import ROWS_READ_MAX, Search
from polka.rules.payments import Page
from polka.store.database import Pool
from searches import all_found, searching

Row = dict[str, Any]

MILLION = """
INSERT INTO transactions
    (id, batch, sender_bank, sender_account, receiver_bank, receiver_account, amount, currency, reference, created_at)
SELECT (lpad(to_hex(1769860800000 + n * 10), 12, '0') || '7000a' || substr(md5(n::text), 1, 15))::uuid,
    '01900000-0000-7000-8000-000000000000',
    CASE WHEN n = 901 THEN 'rare' WHEN n < 100000 THEN 'old' WHEN n % 2 = 0 THEN 'hot' ELSE 'bank' || n % 20 END,
    CASE WHEN n = 901 THEN 'RARE' WHEN n % 3 = 0 THEN 'HOT' ELSE 'A' || n % 50000 END,
    CASE WHEN n < 100000 THEN 'old' WHEN n % 4 = 0 THEN 'hot' ELSE 'bank' || n % 20 END,
    CASE WHEN n % 4 = 3 AND n > 100000 AND n % 3 > 0 THEN 'HOT' ELSE 'B' || n % 50000 END,
    CASE WHEN n = 900 THEN 5000 ELSE 1 + n % 1000 END,
    'USD',
    CASE WHEN n = 901 THEN 'rare' WHEN n % 5 = 0 THEN 'hot' WHEN n % 11 = 0 THEN 'r' || n END,
    to_timestamp(1769860800 + n * 0.01)
FROM generate_series(1, 1000000) n
"""
"""The oldest tenth of a million is within the bank `old`; of the others the bank `hot` has half."""
OF_TRANSACTIONS = "FROM pg_indexes WHERE tablename = 'transactions' AND indexname LIKE 'ix_%'"
READ = """
SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes),
       (SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit) FROM pg_statio_user_tables)
"""


async def fill(database_url: str) -> None:
    """Insert a million rows, and leave the planner without statistics. The indexes are faster to make at the end."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("ALTER TABLE transactions SET (autovacuum_enabled = off), SET UNLOGGED")
        await connection.execute("SET maintenance_work_mem = '256MB'")
        indexes = await connection.fetch(f"SELECT indexname, indexdef {OF_TRANSACTIONS}")
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        await connection.execute(MILLION)
        for _, definition in indexes:
            await connection.execute(definition)
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def million(make_database: Callable[[], str]) -> str:
    database_url = make_database()
    asyncio.run(fill(database_url))
    return database_url


async def reads(pool: Pool, wanted: Search, visible_to: str | None = None) -> tuple[int, int]:
    """The rows, of all tables, and the blocks that Postgres reads for one page."""

    async def so_far() -> tuple[int, int]:
        await pool.execute("SELECT pg_stat_force_next_flush()")
        rows, blocks = await pool.fetchrow(READ)
        return int(rows), int(blocks)

    rows_before, blocks_before = await so_far()
    await search.find(pool, wanted, visible_to)
    rows, blocks = await so_far()
    return rows - rows_before, blocks - blocks_before


WAYS: dict[str, tuple[Search, str | None]] = {
    "all": (Search(), None),
    "bank": (Search(bank="old"), None),
    "account": (Search(account="HOT"), None),
    "reference": (Search(reference="hot"), None),
    "visible": (Search(), "old"),
}
RARE: dict[str, tuple[Search, str | None]] = {
    "time": (Search(from_="2026-01-31T13:00:00Z", to="2026-01-31T13:00:00Z"), None),
    "currency": (Search(currency="JPY"), None),
    "reference of others": (Search(reference="hot"), "rare"),
    "bank of others": (Search(bank="hot"), "old"),
    "account of others": (Search(account="HOT", bank="rare"), None),
    "one of a bank": (Search(bank="rare"), None),
    "one of an account": (Search(account="RARE"), None),
    "one with a reference": (Search(reference="rare"), None),
    "no such bank": (Search(bank="nobody"), None),
    "no such account": (Search(account="X"), None),
    "no such reference": (Search(reference="x"), None),
}


@pytest.mark.anyio
@pytest.mark.parametrize("statistics", ["never", "up to date"])
async def test_a_page_reads_a_bounded_number_of_a_million_rows(million: str, statistics: str) -> None:
    """Again and again, as a prepared statement gets another plan after some executions."""
    cases = RARE | {
        f"{way}, {case}": (replace(wanted, amount_min=amount), visible_to)
        for way, (wanted, visible_to) in WAYS.items()
        for case, amount in (("any", 1), ("one", 5_000), ("none", 6_000))
    }
    async with searching(million) as pool:
        if statistics == "up to date":
            await pool.execute("ANALYZE transactions")
        for name, (wanted, visible_to) in cases.items():
            for _ in range(12):
                rows, blocks = await reads(pool, wanted, visible_to)
                assert rows <= 2 * ROWS_READ_MAX + wanted.limit + 1, name
                assert blocks <= 3 * rows + 20, name


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wanted",
    [{"account": "HOT"}, {"reference": "hot"}, {"bank": "hot"}, {"account": "HOT", "bank": "hot"}, {"currency": "USD"}],
    ids=str,
)
async def test_a_bank_learns_nothing_of_what_others_have(million: str, wanted: Row) -> None:
    """The bank `rare` has one payment. Half a million of others match."""
    async with searching(million) as pool:
        page = await search.find(pool, Search(**wanted, amount_min=6_000), "rare")
        assert page == Page([], None, None)
        rows, _ = await reads(pool, Search(**wanted, amount_min=6_000), "rare")
        assert rows <= 10, "it reads the bank's own payments"


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_one_match_among_a_million_is_found_by_going_on(million: str, way: str) -> None:
    wanted, visible_to = WAYS[way]
    async with searching(million) as pool:
        found, pages = await all_found(pool, replace(wanted, amount_min=5_000), visible_to)
        assert len(found) == 1
        assert 5 < pages <= 101
        assert await all_found(pool, replace(wanted, amount_min=6_000), visible_to) == ([], pages)


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_a_page_in_the_middle_of_a_million_reads_as_little_as_the_first(million: str, way: str) -> None:
    wanted, visible_to = WAYS[way]
    middle = 50_000 if "old" in (wanted.bank, visible_to) else 500_000
    cursor = search.cursor_of(search.first_id(datetime(2026, 1, 31, 12, tzinfo=UTC), middle // 100))
    async with searching(million) as pool:
        for page in (wanted, replace(wanted, cursor=cursor)):
            rows, blocks = await reads(pool, page, visible_to)
            assert page.limit < rows <= 3 * page.limit + 10
            assert blocks <= 10 * page.limit
