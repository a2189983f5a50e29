"""Clearing windows: what is posted is in the one that is open, and its totals are kept."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.clearing import windows
from cache.ledger import flush
from committed import Entries, commit, new_id, transfer
from falsehoods import IN_WINDOWS, close_two_and_settle_one
from front_door import post
from locks import until_waiting
from polka.audit import snapshot
from polka.rules.windows import Conflict, settlement_entries
from proof import clean_audit
from running import Running
from services import Services, client, payment, wait_for

pytestmark = pytest.mark.anyio

Totals = dict[tuple[int, str, str], tuple[int, int, int]]

entries = st.lists(
    st.tuples(
        st.sampled_from(["bank1", "bank2", "bank3"]),
        st.sampled_from(["A1", "B1"]),
        st.sampled_from(["USD", "EUR"]),
        st.integers(-(10**15), 10**15).filter(bool),
    )
)

moves = st.builds(
    lambda sender, receiver, currency, amount: [(sender, "A1", currency, -amount), (receiver, "B1", currency, amount)],
    st.sampled_from(["bank1", "bank2", "bank3"]),
    st.sampled_from(["bank1", "bank2", "bank3"]),
    st.sampled_from(["USD", "EUR"]),
    st.integers(-(10**15), 10**15).filter(bool),
)
"""Of a payment, or of a reversal."""


@given(entries)
def test_totals_are_those_of_the_entries(entries: Entries) -> None:
    """Against sums that are taken one account, and one bank, after the other."""
    accounts = flush.totals_by_account(entries)
    banks = flush.totals_by_bank(accounts)
    assert accounts.keys() == {(bank, account, currency) for bank, account, currency, _ in entries}
    assert banks.keys() == {(bank, currency) for bank, _, currency, _ in entries}
    for (bank, account, currency), total in accounts.items():
        assert total == sums([entry[3] for entry in entries if entry[:3] == (bank, account, currency)])
    for (bank, currency), total in banks.items():
        assert total == sums([amount for b, _, c, amount in entries if (b, c) == (bank, currency)])


def sums(amounts: list[int]) -> tuple[int, int, int]:
    return -sum(a for a in amounts if a < 0), sum(a for a in amounts if a > 0), len(amounts)


@given(st.lists(st.lists(moves, max_size=5), min_size=1, max_size=4), st.integers(0, 4))
def test_settling_leaves_the_nets_of_the_windows_that_are_not_settled(
    cleared: list[list[Entries]], settled: int
) -> None:
    """Of each bank; Polka's own account is left with nothing, and each currency sums to zero."""
    balances: dict[tuple[str, str], int] = {}
    left: dict[tuple[str, str], int] = {}
    for number, batches in enumerate(cleared):
        posted = [entry for batch in batches for entry in batch]
        totals = flush.totals_by_bank(flush.totals_by_account(posted))
        nets = [(bank, currency, credits - debits) for (bank, currency), (debits, credits, _) in totals.items()]
        settlement = settlement_entries(nets) if number < settled else []
        assert all(debit[3] == -credit[3] for debit, credit in zip(settlement[::2], settlement[1::2], strict=True))
        for bank, _, currency, amount in posted + settlement:
            balances[bank, currency] = balances.get((bank, currency), 0) + amount
        for bank, currency, net in nets if number >= settled else ():
            left[bank, currency] = left.get((bank, currency), 0) + net
    assert {key: balance for key, balance in balances.items() if balance} == {k: net for k, net in left.items() if net}
    for currency in ("USD", "EUR"):
        assert sum(balance for (_, c), balance in balances.items() if c == currency) == 0


async def totals(connection: asyncpg.Connection) -> Totals:
    """Debits, credits and count by window, bank and currency."""
    rows = await connection.fetch("SELECT * FROM window_totals")
    return {
        (row["window_id"], row["bank"], row["currency"]): (int(row["debits"]), int(row["credits"]), row["count"])
        for row in rows
    }


async def windows_of(connection: asyncpg.Connection, batches: list[Any]) -> list[int | None]:
    return [await connection.fetchval("SELECT window_id FROM batches WHERE id = $1", batch) for batch in batches]


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


async def test_an_outdated_cache_neither_closes_nor_settles(connection: asyncpg.Connection) -> None:
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 1, 100)
    assert isinstance(await windows.close(connection, 0, 1, 2, new_id()), windows.Done)
    assert await flush.raise_epoch(connection) == 1
    with pytest.raises(flush.OutdatedError):
        await windows.close(connection, 0, 2, 2, new_id())
    with pytest.raises(flush.OutdatedError):
        await windows.settle(connection, 0, 1, 2, new_id())
    assert await connection.fetchval("SELECT array_agg(state ORDER BY id) FROM windows") == ["closed", "open"]
    assert await connection.fetchval("SELECT balance FROM balances WHERE bank = 'bank1'") == -100


@pytest.mark.parametrize("step", ["close", "settle"])
async def test_raising_the_epoch_waits_for_a_window_that_is_being_closed_or_settled(
    database_url: str, connection: asyncpg.Connection, step: str
) -> None:
    """So a new cache reads balances and windows that its predecessor does not change any more."""
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 1, 100)
    if step == "settle":
        await windows.close(connection, 0, 1, 2, new_id())
    old, new = [await asyncpg.connect(database_url) for _ in range(2)]
    await connection.execute("BEGIN; LOCK TABLE windows IN SHARE MODE")
    stepping = asyncio.create_task(
        windows.close(old, 0, 1, 2, new_id()) if step == "close" else windows.settle(old, 0, 1, 2, new_id())
    )
    await until_waiting(database_url)
    raising = asyncio.create_task(flush.raise_epoch(new))
    await until_waiting(database_url, 2)
    await connection.execute("COMMIT")
    assert not isinstance(await stepping, Conflict)
    assert await raising == 1
    for opened in (old, new):
        await opened.close()


async def test_a_window_is_settled_once_whatever_calls_at_once(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """The second is one that has seen the window closed: it finds it settled, and changes nothing."""
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 1, 100)
    await windows.close(connection, 0, 1, 2, new_id())
    callers = [await asyncpg.connect(database_url) for _ in range(2)]
    await connection.execute("BEGIN; LOCK TABLE windows IN SHARE MODE")
    settling = []
    for number, caller in enumerate(callers, 2):
        settling.append(asyncio.create_task(windows.settle(caller, 0, 1, number, new_id())))
        await until_waiting(database_url, len(settling))
    await connection.execute("COMMIT")
    outcomes = await asyncio.gather(*settling, return_exceptions=True)
    assert sum(isinstance(outcome, windows.Done) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 1
    assert await connection.fetchval("SELECT balance FROM balances WHERE bank = 'bank1'") == 0
    await clean_audit(database_url)
    for caller in callers:
        await caller.close()


@pytest.mark.parametrize(("statement", "check"), IN_WINDOWS.values(), ids=IN_WINDOWS.keys())
async def test_the_audit_finds_each_falsehood_about_a_settlement(
    database_url: str, connection: asyncpg.Connection, statement: str, check: str
) -> None:
    await close_two_and_settle_one(connection)
    await clean_audit(database_url)
    await connection.execute(statement)
    assert (await snapshot.audit(database_url)).differences[check]


async def test_nets_that_no_machine_word_holds_are_settled(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute("INSERT INTO window_totals VALUES (1, 'bank1', 'USD', 0, 1e30, 1)")
    await windows.close(connection, 0, 1, 1, new_id())
    settled = await windows.settle(connection, 0, 1, 1, new_id())
    assert isinstance(settled, windows.Done)
    assert int(await connection.fetchval("SELECT balance FROM balances WHERE bank = 'bank1'")) == -(10**30)


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
