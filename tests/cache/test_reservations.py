"""Reservations: what the cache promises an api, when a promise ends, and whose promises count. The test is the api."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from cache.ledger import flush
from capped import CAP, cap
from committed import Entries, commit, held, new_id, state, tell, transfer
from exposed import page
from locks import until_waiting
from services import QUICK, SLOW, Service, Services, cache_client, until

pytestmark = pytest.mark.anyio

SOON = {"POLKA_RESERVATION_SECONDS": "0.3"}
LATER = {"POLKA_RESERVATION_SECONDS": "60"}


def ask(
    cache: Service, policy: int, *units: Entries, batch: UUID | None = None, replaces: tuple[UUID, ...] = ()
) -> dict[str, Any]:
    """POST /balance/reservation, as an api sends it."""
    body = {
        "batch": str(batch or new_id()),
        "policy": policy,
        "units": units,
        "replaces": [str(old) for old in replaces],
    }
    response = cache_client.post(f"{cache.url}/balance/reservation", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def is_reserved(cache: Service, policy: int, amount: int, batch: UUID | None = None) -> bool:
    answer = ask(cache, policy, transfer(amount), batch=batch)
    assert answer["refused"] is not None, answer
    return not answer["refused"]


@pytest.fixture
async def slow(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session whose transaction the test ends when it likes."""
    session = await asyncpg.connect(database_url)
    yield session
    session.terminate()


async def commit_slowly(slow: asyncpg.Connection, amount: int, batch: UUID) -> Any:
    """Begin to commit the batch, and leave it at that."""
    transaction = slow.transaction()
    await transaction.start()
    await commit(slow, transfer(amount), batch)
    return transaction


async def test_room_is_reserved_until_the_batch_is_posted(services: Services, connection: asyncpg.Connection) -> None:
    policy = await cap(connection)
    cache = services.cache(**QUICK, **LATER).ready()
    batch = new_id()
    assert is_reserved(cache, policy, 600, batch)
    assert not is_reserved(cache, policy, 500)
    assert held(cache.url, "bank1") == (0, -600)
    await commit(connection, transfer(600), batch)
    await until("it is posted", lambda: held(cache.url, "bank1") == (-600, 0))
    assert not is_reserved(cache, policy, 500)
    assert is_reserved(cache, policy, 400)


async def test_the_same_batch_again_has_the_same_answer_and_takes_no_more_room(
    services: Services, connection: asyncpg.Connection
) -> None:
    policy = await cap(connection)
    cache = services.cache(**LATER).ready()
    batch = new_id()
    units = [transfer(700), transfer(700), transfer(300)]
    first = ask(cache, policy, *units, batch=batch)
    assert first["refused"].keys() == {"1"}
    assert first["refused"]["1"] == {"bank": "bank1", "currency": "USD", "cap": CAP, "balance": 0, "pending": -700}
    assert ask(cache, policy, *units, batch=batch) == first
    assert held(cache.url, "bank1") == (0, -1_000)


async def test_a_batch_that_replaces_another_has_its_room(services: Services, connection: asyncpg.Connection) -> None:
    policy = await cap(connection)
    cache = services.cache(**LATER).ready()
    first = new_id()
    assert is_reserved(cache, policy, 800, first)
    assert ask(cache, policy, transfer(900), replaces=(first,))["refused"] == {}
    assert held(cache.url, "bank1") == (0, -900)


async def test_what_is_pending_in_is_no_room(services: Services, connection: asyncpg.Connection) -> None:
    """It may never be committed."""
    policy = await cap(connection)
    cache = services.cache(**SLOW).ready()
    tell(cache.url, new_id(), transfer(5_000, "bank2", "bank1"))
    assert held(cache.url, "bank1") == (0, 5_000)
    assert not is_reserved(cache, policy, CAP + 1)
    assert is_reserved(cache, policy, CAP)


async def test_room_that_nobody_commits_is_free_again_once_that_is_sure(
    services: Services, connection: asyncpg.Connection
) -> None:
    policy = await cap(connection)
    cache = services.cache(**QUICK, **SOON).ready()
    batch = new_id()
    assert is_reserved(cache, policy, CAP, batch)
    await until("it is given up", lambda: held(cache.url, "bank1") == (0, 0))
    assert await state(connection, batch) == "void"
    with pytest.raises(asyncpg.UniqueViolationError):
        await commit(connection, transfer(CAP), batch)
    assert ask(cache, policy, transfer(CAP), batch=batch)["refused"] is None, "its id has had its day"
    assert is_reserved(cache, policy, CAP)


async def test_room_stays_reserved_while_a_slow_commit_may_still_come(
    services: Services, connection: asyncpg.Connection, slow: asyncpg.Connection, database_url: str
) -> None:
    """No clock ends a reservation: its time is over, and the tombstone waits."""
    policy = await cap(connection)
    cache = services.cache(**QUICK, **SOON).ready()
    batch = new_id()
    transaction = await commit_slowly(slow, CAP, batch)
    assert is_reserved(cache, policy, CAP, batch)
    await until_waiting(database_url)
    assert not is_reserved(cache, policy, 1)
    await transaction.commit()
    await until("it is posted", lambda: held(cache.url, "bank1") == (-CAP, 0))
    assert not is_reserved(cache, policy, 1)


async def test_room_stays_reserved_until_memory_has_the_flush_that_posted_it(
    services: Services, connection: asyncpg.Connection
) -> None:
    """The tombstone finds its batch posted by a flush that memory lacks: dropped now, it would count nowhere."""
    policy = await cap(connection)
    cache = services.cache(**QUICK, **SOON).ready()
    batch = new_id()
    await connection.execute(
        "INSERT INTO batches (id, size, payload, state, flush, posted_at) VALUES ($1, 1, $2, 'posted', 1, now())",
        batch,
        json.dumps(transfer(CAP)),
    )
    assert is_reserved(cache, policy, CAP, batch)
    found = 'polka_tombstones_total{state="posted"}'
    await until("a tombstone finds it", lambda: found in page(cache.metrics_url))
    assert not is_reserved(cache, policy, 1)


async def test_a_batch_set_aside_keeps_its_room_also_over_a_start(
    services: Services, connection: asyncpg.Connection
) -> None:
    policy = await cap(connection)
    cache = services.cache(**QUICK, **LATER).ready()
    batch, unbalanced = new_id(), [("bank1", "A1", "USD", -600), ("bank2", "B1", "USD", 601)]
    assert ask(cache, policy, unbalanced, batch=batch)["refused"] == {}
    await connection.execute(
        "INSERT INTO batches (id, size, payload) VALUES ($1, 1, $2)", batch, json.dumps(unbalanced)
    )
    await until("it is set aside", lambda: "is set aside" in cache.log.read_text())
    assert not is_reserved(cache, policy, 401)
    cache.kill()
    cache.restart()
    assert not is_reserved(cache, policy, 401)
    assert is_reserved(cache, policy, 400)


async def test_a_cache_that_starts_counts_what_was_committed_before_it_answers(
    services: Services, connection: asyncpg.Connection, database_url: str
) -> None:
    policy = await cap(connection)
    batch = await commit(connection, transfer(600))
    await connection.execute("BEGIN; SELECT FROM flush FOR UPDATE")
    cache = services.cache(**LATER)
    await until_waiting(database_url)
    body = {"batch": str(new_id()), "policy": policy, "units": [transfer(500)]}
    assert cache_client.post(f"{cache.url}/balance/reservation", json=body).status_code == 503
    await connection.execute("COMMIT")
    await asyncio.to_thread(cache.ready)
    assert await state(connection, batch) == "posted"
    assert not is_reserved(cache, policy, 500)
    assert is_reserved(cache, policy, 400)


async def test_the_cache_decides_only_under_the_policy_that_an_api_names(
    services: Services, connection: asyncpg.Connection
) -> None:
    old = await cap(connection, 5_000)
    cache = services.cache(**SLOW).ready()
    assert is_reserved(cache, old, 2_000)
    new = await cap(connection, CAP)
    assert is_reserved(cache, old, 1), "it has not heard of the new one"
    assert not is_reserved(cache, new, 1)
    answer = ask(cache, old, transfer(1))
    assert (answer["refused"], answer["policy"]) == (None, new)


async def test_the_cache_follows_a_policy_only_with_a_flush_that_begins_after_it(
    services: Services, connection: asyncpg.Connection
) -> None:
    """What was committed under the old policy, and never told, is counted under the new one."""
    await cap(connection, None)
    cache = services.cache(**SLOW).ready()
    await commit(connection, transfer(600))
    new = await cap(connection, CAP)
    assert not is_reserved(cache, new, 401)
    assert held(cache.url, "bank1") == (-600, 0)
    assert is_reserved(cache, new, 400)


async def test_a_cache_follows_a_new_policy_within_a_second_without_being_told(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache().ready()
    new = await cap(connection)
    await until("it decides under the new one", lambda: ask(cache, new - 1, transfer(1))["policy"] == new, 5)


async def test_raising_the_epoch_waits_for_a_commit_under_a_reservation_and_shuts_out_later_ones(
    database_url: str, connection: asyncpg.Connection, slow: asyncpg.Connection
) -> None:
    """A later commit waits behind it, though others share the lock that it waits for: so no load keeps it out."""
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("SELECT polka_hold_epoch(0)")
    raising = asyncio.create_task(flush.raise_epoch(connection))
    await until_waiting(database_url)
    later = await asyncpg.connect(database_url)
    committing = asyncio.create_task(later.execute("SELECT polka_hold_epoch(0)"))
    await until_waiting(database_url, 2)
    await transaction.commit()
    assert await raising == 1
    with pytest.raises(asyncpg.PostgresError, match="reserved in epoch 0, it is 1"):
        await committing
    await later.close()
