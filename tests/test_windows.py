"""Clearing windows: what is posted is in the one that is open, and its totals are kept."""

import json
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache import flush
from committed import Entries, commit, new_id, transfer
from conftest import Running
from front_door import post
from polka import audit
from services import Services, client, payment, wait_for

pytestmark = pytest.mark.anyio

Totals = dict[tuple[int, str, str], tuple[int, int, int]]

entries = st.lists(
    st.tuples(
        st.sampled_from(["bank1", "bank2", "bank3"]),
        st.just("A1"),
        st.sampled_from(["USD", "EUR"]),
        st.integers(-(10**15), 10**15).filter(bool),
    )
)


@given(entries)
def test_totals_are_those_of_the_entries(entries: Entries) -> None:
    """Against sums that are taken bank by bank."""
    totals = flush.totals_of(entries)
    assert totals.keys() == {(bank, currency) for bank, _, currency, _ in entries}
    for (bank, currency), total in totals.items():
        own = [amount for b, _, c, amount in entries if (b, c) == (bank, currency)]
        assert total == (-sum(a for a in own if a < 0), sum(a for a in own if a > 0), len(own))
        assert total[1] - total[0] == sum(own)


async def totals(connection: asyncpg.Connection) -> Totals:
    """Debits, credits and count by window, bank and currency."""
    rows = await connection.fetch("SELECT * FROM window_totals")
    return {
        (row["window_id"], row["bank"], row["currency"]): (int(row["debits"]), int(row["credits"]), row["count"])
        for row in rows
    }


async def windows_of(connection: asyncpg.Connection, batches: list[Any]) -> list[int | None]:
    return [await connection.fetchval("SELECT window_id FROM batches WHERE id = $1", batch) for batch in batches]


async def clean_audit(database_url: str) -> None:
    done = await audit.audit(database_url)
    assert done.is_clean, done.differences


async def test_what_a_flush_posts_is_in_the_open_window(database_url: str, connection: asyncpg.Connection) -> None:
    batches = [await commit(connection, transfer(100)), await commit(connection, transfer(30, "bank2", "bank1"))]
    await flush.flush(connection, 0, 1, 100)
    batches.append(await commit(connection, transfer(7)))
    assert await windows_of(connection, batches) == [1, 1, None]
    await flush.flush(connection, 0, 2, 100)
    assert await windows_of(connection, batches) == [1, 1, 1]
    assert await totals(connection) == {(1, "bank1", "USD"): (107, 30, 3), (1, "bank2", "USD"): (30, 107, 3)}
    await clean_audit(database_url)


async def test_a_batch_set_aside_is_in_no_window(database_url: str, connection: asyncpg.Connection) -> None:
    batch = await commit(connection, [("bank1", "A1", "USD", -100), ("bank2", "B1", "USD", 99)])
    assert len((await flush.flush(connection, 0, 1, 100)).aside) == 1
    assert await windows_of(connection, [batch]) == [None]
    assert await totals(connection) == {}


async def test_what_a_polka_without_windows_has_posted_is_taken_into_the_open_one(
    services: Services, connection: asyncpg.Connection
) -> None:
    """Whichever posted it, before the migration or, in an upgrade of one process after the other, behind it."""
    batches = [await commit(connection, transfer(n)) for n in range(1, 41)]
    for batch in batches[:30]:
        await connection.execute(POST_WITHOUT_WINDOW, batch)
    services.cache(POLKA_FLUSH_PAYMENTS_MAX="4").ready()
    assert await windows_of(connection, batches) == [1] * 40
    assert await totals(connection) == {(1, "bank1", "USD"): (820, 0, 40), (1, "bank2", "USD"): (0, 820, 40)}
    await clean_audit(services.database_url)


POST_WITHOUT_WINDOW = """
WITH posted AS (
    UPDATE batches SET state = 'posted', flush = 1, posted_at = now() WHERE id = $1 RETURNING payload
), entries AS (
    SELECT entry->>0 AS bank, entry->>1 AS account, entry->>2 AS currency, (entry->>3)::numeric AS amount
    FROM posted, json_array_elements(payload) AS entry
), banks AS (
    INSERT INTO balances AS held SELECT bank, currency, amount FROM entries
    ON CONFLICT (bank, currency) DO UPDATE SET balance = held.balance + excluded.balance
), accounts AS (
    INSERT INTO accounts AS held (bank, account, currency, balance) SELECT * FROM entries
    ON CONFLICT (bank, account, currency) DO UPDATE SET balance = held.balance + excluded.balance
)
UPDATE flush SET number = 1
"""
"""A flush as it was before there were windows."""


async def test_taking_over_a_batch_that_says_nothing_ends(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO batches (id, state, size, payload, flush, posted_at) VALUES ($1, 'posted', 1, $2, 1, now())",
        new_id(),
        json.dumps("nothing"),
    )
    assert await flush.adopt(connection, 0, 100)
    assert not await flush.adopt(connection, 0, 100)
    assert await totals(connection) == {}


async def test_a_flush_whose_window_was_closed_meanwhile_posts_nothing(connection: asyncpg.Connection) -> None:
    batch = await commit(connection, transfer(100))
    await connection.execute("UPDATE windows SET state = 'closed', closed_at = now(), flush = 0")
    with pytest.raises(flush.OutdatedError):
        await flush.flush(connection, 0, 1, 100)
    assert await windows_of(connection, [batch]) == [None]


def test_a_transaction_tells_its_window(polka: Running, key: str) -> None:
    made = post(polka, payment(), key).json()
    assert made["window"] is None
    url = f"{polka.url}/transaction/{made['id']}"
    window = wait_for("it is posted", lambda: client.get(url).json()["window"])
    assert window >= 1
    by_key = client.get(f"{polka.url}/transaction", params={"idempotency_key": key}).json()
    found = client.get(f"{polka.url}/transactions", params={"bank": "bank1", "limit": 500}).json()["transactions"]
    assert by_key["window"] == window
    assert [one["window"] for one in found if one["id"] == made["id"]] == [window]
    history = client.get(f"{url}/history").json()
    assert history["transaction"]["window"] == window
