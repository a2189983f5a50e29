"""The audit as a service: it finds nothing where nothing is wrong, and each falsehood within some runs."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import pytest

from cache.clearing import windows
from cache.ledger import flush
from committed import commit, new_id, transfer
from databases import execute
from exposed import value
from falsehoods import (
    AGREE,
    IN_CONVERSIONS,
    IN_FEES,
    IN_INTEREST,
    IN_LIQUIDITY,
    IN_ONE_PAYMENT,
    IN_WINDOWS,
    bear_interest,
    close_two_and_settle_one,
    take_samples,
)
from polka.audit import passes, runs, scans
from polka.audit.checks import CACHE_CHECK, CHECKS
from polka.audit.snapshot import Seen
from polka.rules.audits import Run
from proof import prove, session
from services import Service, Services, client, payment, wait_for

AGAIN = 10
RUNS = 3
"""Within which a falsehood is found, and what is mended is found to be, where a run goes through the whole ledger."""
LEDGER = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name NOT LIKE 'audit%'
"""


async def nothing_beside() -> Seen:
    return Seen({}, [])


async def run(connection: asyncpg.Connection, again: int = AGAIN) -> Run:
    return await runs.run(connection, again, nothing_beside)


async def until(connection: asyncpg.Connection, is_found: Callable[[Run], bool]) -> Run:
    """The first run of which that is so, or the last one."""
    for _ in range(RUNS):
        done = await run(connection)
        if is_found(done):
            break
    return done


@pytest.mark.anyio
async def test_a_run_proves_what_is_new(auditing: asyncpg.Connection, connection: asyncpg.Connection) -> None:
    first = await run(auditing)
    assert (first.flush, first.payments_new, first.faults) == (0, 0, 0)
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 1, 100)
    second = await run(auditing)
    assert (second.flush, second.payments_new, second.faults) == (1, 1, 0), second


def test_each_check_of_the_whole_audit_has_its_place() -> None:
    """Those of balances compare sums here, in place of all entries."""
    of_slices = [check for rows in scans.ROWS.values() for check in rows.checks]
    places = {*passes.CHECKS_OF_A_STEP, *passes.CHECKS_AT_PRESENT, *passes.BALANCES, *of_slices}
    places |= {*runs.CHECKS_OF_A_RUN, runs.BANKS_ARE_KNOWN}
    assert CHECKS.keys() == places - {scans.WITHOUT_BATCH}


async def one_payment(connection: asyncpg.Connection) -> None:
    await commit(connection, transfer(100))
    await flush.flush(connection, 0, 1, 100)


LEDGERS = {
    "one payment": (one_payment, IN_ONE_PAYMENT),
    "settled": (close_two_and_settle_one, IN_WINDOWS),
    "interest": (bear_interest, IN_INTEREST),
    "liquidity": (take_samples, IN_LIQUIDITY),
}


@pytest.mark.anyio
@pytest.mark.parametrize("make", [make for make, _ in LEDGERS.values()], ids=LEDGERS.keys())
async def test_steps_of_one_payment_prove_the_same(
    auditing: asyncpg.Connection, connection: asyncpg.Connection, make: Callable[[asyncpg.Connection], Awaitable[None]]
) -> None:
    """Wherever a step ends: a window is closed in one and settled in another, and a piece of interest is cut in two."""
    await make(connection)
    for _ in range(10):
        done = await run(auditing, again=1)
        assert not done.findings, done
    assert done.flush == await connection.fetchval("SELECT number FROM flush")


@pytest.mark.anyio
@pytest.mark.parametrize("again", [1, AGAIN])
async def test_interest_that_is_agreed_with_a_bank_that_has_paid_is_proved(
    auditing: asyncpg.Connection, connection: asyncpg.Connection, again: int
) -> None:
    """The balance was proved before it bore interest, and bears interest from the agreement on."""
    await one_payment(connection)
    assert not (await run(auditing, again)).findings
    await connection.execute(AGREE)
    for number in (2, 3, 4):
        await commit(connection, transfer(100))
        await flush.flush(connection, 0, number, 100)
        assert not (await run(auditing, again)).findings
        if number == 3:  # so little interest is none, and needs no flush
            assert isinstance(await windows.close(connection, 0, 1, number + 1, new_id()), windows.Done)
    for _ in range(10):
        done = await run(auditing, again)
        assert not done.findings, done
    assert done.flush == 4


NO_DDL = """
CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a run writes to the catalog'; END $$;
CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse();
"""


@pytest.mark.anyio
async def test_a_run_makes_no_tables(auditing: asyncpg.Connection, connection: asyncpg.Connection) -> None:
    """Temporary ones neither: each leaves dead rows in the catalog."""
    await one_payment(connection)
    await connection.execute(NO_DDL)
    for _ in range(3):
        assert not (await run(auditing)).findings


@pytest.mark.anyio
async def test_what_is_altered_behind_a_pass_is_found_by_the_next_one(
    auditing: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    """In the payment and in its batch, within one bank, so that nothing but the sums of a whole pass tell of it."""
    for number in range(1, 21):
        await commit(connection, transfer(100))
        await flush.flush(connection, 0, number, 100)
    proved = [await run(auditing, again=5) for _ in range(2)]
    assert [(one.payments_new, one.payments_again, one.faults) for one in proved] == [(20, 0, 0), (0, 5, 0)]
    await connection.execute("UPDATE batches SET payload = replace(payload::text, 'A1', 'A2')::json WHERE flush = 2")
    await connection.execute(
        "UPDATE transactions SET sender_account = 'A2' WHERE batch = (SELECT id FROM batches WHERE flush = 2)"
    )
    found = [await run(auditing, again=5) for _ in range(7)]
    first = next(one for one in found if one.faults)
    assert {one.subject for one in first.findings} == {"accounts of bank1 USD"}
    assert found.index(first) == 6, "the pass that had been by goes on for 3 runs, and the next one takes 4"


@pytest.mark.anyio
async def test_rows_that_no_flush_leads_to_are_looked_at_in_rounds(
    auditing: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    """Whatever is between them: payments of no batch, keys of no payment, the netting of one of many empty windows."""
    count = 2 * scans.WINDOWS_MAX
    await connection.execute("UPDATE windows SET state = 'closed', closed_at = now(), flush = 0, is_netted = true")
    await connection.execute(
        f"INSERT INTO windows (id, state, closed_at, flush, is_netted) "
        f"SELECT id, 'closed', now(), 0, true FROM generate_series(2, {count}) AS id"
    )
    await connection.execute(f"INSERT INTO windows (id) VALUES ({count + 1})")
    for number in range(1, 6):
        await commit(connection, transfer(100))
        await flush.flush(connection, 0, number, 100)
    keys = "INSERT INTO idempotency_keys (caller, key, fingerprint, transaction) SELECT 'me', id::text, '', id FROM "
    await connection.execute(f"{keys} transactions")
    assert not (await run(auditing, again=2)).findings
    await connection.execute(f"INSERT INTO window_netting VALUES ({count}, 'USD', 100, 100, 100)")
    await connection.execute(f"{keys} (SELECT gen_random_uuid()) AS made (id)")
    await connection.execute(
        "INSERT INTO transactions SELECT gen_random_uuid(), gen_random_uuid(), sender_bank, sender_account, "
        "receiver_bank, receiver_account, amount, currency FROM transactions LIMIT 1"
    )
    wanted = {
        "A closed window's netting is that of its payments",
        "An answered idempotency key has its transaction",
        scans.WITHOUT_BATCH,
    }
    for _ in range(4):
        done = await run(auditing, again=2)
    assert {one.check for one in done.findings} == wanted, "and it goes no further than what it has found"


@pytest.mark.anyio
async def test_no_step_is_passed_if_its_checks_find_a_fault_together_and_none_alone(
    auditing: asyncpg.Connection, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_nothing(*_: Any) -> dict[str, Any]:
        return {}

    await one_payment(connection)
    await connection.execute("UPDATE transactions SET amount = amount + 1")
    monkeypatch.setattr(passes, "look_at", find_nothing)
    with pytest.raises(asyncpg.DataError, match="none alone"):
        await run(auditing)
    assert await connection.fetchval("SELECT max(flush) FROM audit_passes") < 1


@pytest.mark.parametrize(("make", "falsehoods"), LEDGERS.values(), ids=LEDGERS.keys())
@pytest.mark.anyio
async def test_each_falsehood_about_the_past_is_found_and_is_gone_once_mended(
    auditing: asyncpg.Connection,
    connection: asyncpg.Connection,
    make: Callable[[asyncpg.Connection], Awaitable[None]],
    falsehoods: Mapping[str, tuple[str, str]],
) -> None:
    await make(connection)
    await find_each(auditing, connection, falsehoods)


async def find_each(
    auditing: asyncpg.Connection, connection: asyncpg.Connection, falsehoods: Mapping[str, tuple[str, str]]
) -> None:
    """Plant one after the other, each in a ledger that was proved before, and take it away again."""
    tables = [row[0] for row in await connection.fetch(LEDGER)]
    await connection.execute("CREATE SCHEMA saved")
    for table in tables:
        await connection.execute(f"CREATE TABLE saved.{table} AS TABLE {table}")
    restore = "".join(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved.{table};" for table in tables)
    wrong = []
    for _ in range(2):
        assert not (first := await run(auditing)).findings, first
    for name, (statement, _) in falsehoods.items():
        await connection.execute(statement)
        if not (await until(auditing, lambda done: done.faults > 0)).faults:
            wrong.append(f"{name} is not found")
        await connection.execute(restore)
        if (mended := await until(auditing, lambda done: done.faults == 0)).faults:
            wrong.append(f"{name} is not mended: {mended.findings}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.anyio
async def test_each_falsehood_about_conversions_and_fees_is_found_and_is_gone_once_mended(
    copy_database: Callable[[str], str],
    converted: str,
    charged: str,
) -> None:
    for made, falsehoods in ((converted, IN_CONVERSIONS), (charged, IN_FEES)):
        copy = await asyncio.to_thread(copy_database, made)
        async with session(copy) as auditing, session(copy) as connection:
            await find_each(auditing, connection, falsehoods)


FAULTS = "polka_audit_faults"
COMPLETED = "polka_audit_completed_timestamp_seconds"
AT_ONCE = {"POLKA_AUDIT_SECONDS": "0.3"}


def audited(api: Service) -> Any:
    return client.get(f"{api.url}/audit").raise_for_status().json()


def have(services: Services, statement: str) -> None:
    asyncio.run(execute(services.database_url, statement))


def test_the_cache_audits_in_the_background_and_tells_what_it_finds(services: Services) -> None:
    cache = services.cache(**AT_ONCE).ready()
    api = services.api().ready()
    client.post(f"{api.url}/transaction", json=payment(100)).raise_for_status()
    wait_for("the payment is proved", lambda: [run["flush"] for run in audited(api)["runs"][:1]] == [1])
    assert value(cache.metrics_url, FAULTS) == 0
    have(services, "UPDATE accounts SET balance = balance + 1 WHERE bank = 'bank1'")
    wait_for("both falsehoods are a metric", lambda: value(cache.metrics_url, FAULTS) == 2)
    wait_for("the log says so", lambda: "accounts of bank1 USD is -0.99 instead of -1.00" in cache.log.read_text())
    cache.kill()
    answer = audited(api)
    found = {(one["subject"], one["expected"], one["found"], one["currency"]) for one in answer["runs"][0]["findings"]}
    assert found == {("accounts of bank1 USD", "-100", "-99", "USD"), ("USD", "0", "1", "USD")}
    assert answer["age_seconds"] < 30
    cache.restart()
    have(services, "UPDATE accounts SET balance = balance - 1 WHERE bank = 'bank1'")
    wait_for("it is gone once mended", lambda: value(cache.metrics_url, FAULTS) == 0)
    prove(services.database_url, cache.url)


def test_memory_is_compared_with_what_is_stored(services: Services) -> None:
    cache = services.cache(POLKA_FLUSH_SECONDS="3600", **AT_ONCE).ready()
    wait_for("a run is done", lambda: value(cache.metrics_url, FAULTS) == 0)
    have(services, "INSERT INTO balances VALUES ('bank1', 'USD', 5), ('bank2', 'USD', -5)")
    api = services.api().ready()
    wait_for(
        "both banks are found",
        lambda: (
            [one["subject"] for one in audited(api)["runs"][0]["findings"] if one["check"] == CACHE_CHECK]
            == ["bank1 USD", "bank2 USD"]
        ),
    )


def test_a_start_shows_what_the_last_run_found(services: Services) -> None:
    have(
        services,
        "INSERT INTO audit_runs (began_at, ended_at, flush, payments_new, payments_again, faults, findings) "
        "VALUES (now(), to_timestamp(1700000000), 1, 1, 1, 3, '[]'); "
        "ALTER TABLE audit_passes RENAME TO audit_passes_gone",
    )
    cache = services.cache(**AT_ONCE).ready()
    failed = {"reason": "UndefinedTableError"}
    wait_for("it fails to run", lambda: value(cache.metrics_url, "polka_audit_failures_total", **failed))
    assert (value(cache.metrics_url, FAULTS), value(cache.metrics_url, COMPLETED)) == (3, 1700000000)
    have(services, "ALTER TABLE audit_passes_gone RENAME TO audit_passes")
    wait_for("it runs again", lambda: value(cache.metrics_url, FAULTS) == 0)


def test_no_audit_runs_where_none_is_wanted(services: Services) -> None:
    cache = services.cache(POLKA_AUDIT_SECONDS="0").ready()
    assert math.isnan(value(cache.metrics_url, FAULTS) or 0)
    assert math.isnan(value(cache.metrics_url, COMPLETED) or 0)


@pytest.mark.anyio
async def test_two_audits_at_once_prove_each_payment_once(
    database_url: str, auditing: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    """As two caches by mistake: one goes on, the other one may fail, and nothing that is verified is wrong."""
    await run(auditing)
    for number in range(1, 6):
        await commit(connection, transfer(100))
        await flush.flush(connection, 0, number, 100)
        async with session(database_url) as another:
            done = await asyncio.gather(run(auditing), run(another), return_exceptions=True)
        assert [one for one in done if isinstance(one, Run)], done
        for one in done:
            assert isinstance(one, asyncpg.SerializationError) or (isinstance(one, Run) and not one.faults), done
    last = await run(auditing)
    assert (last.flush, last.faults) == (5, 0)
