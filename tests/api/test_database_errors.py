"""Errors of the database: one that may pass by itself is retried, one that is a mistake is a 500 with a traceback."""

import asyncio

import asyncpg
import pytest

from databases import execute
from front_door import refused
from polka.store import database
from running import Running
from services import Services, client, payment, wait_for
from waiting import WAIT_SECONDS


@pytest.mark.parametrize(
    ("error", "is_passing"),
    [
        (asyncpg.ConnectionDoesNotExistError("closed"), True),
        (asyncpg.AdminShutdownError("the server stops"), True),
        (asyncpg.TooManyConnectionsError("full"), True),
        (asyncpg.ReadOnlySQLTransactionError("a standby"), True),
        (asyncpg.SerializationError("changed meanwhile"), True),
        (asyncpg.QueryCanceledError("took too long"), True),
        (asyncpg.InvalidPasswordError("another password"), True),
        (asyncpg.InterfaceError("the connection is closed"), True),
        (database.UnreachableError("refused"), True),
        (TimeoutError(), True),
        (asyncpg.UndefinedColumnError("no such column"), False),
        (asyncpg.InsufficientPrivilegeError("not allowed"), False),
        (asyncpg.PostgresSyntaxError("a typing error"), False),
        (asyncpg.NotNullViolationError("no value"), False),
        (asyncpg.DivisionByZeroError("by zero"), False),
        (asyncpg.InternalServerError("cache lookup failed"), False),
        (asyncpg.ClientConfigurationError("not a port"), False),
        (FileNotFoundError("a file"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_only_an_error_that_may_pass_by_itself_is_worth_another_try(error: Exception, is_passing: bool) -> None:
    assert database.is_passing(error) is is_passing


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_unreachable_whatever_the_reason() -> None:
    for url in ("postgresql://x@127.0.0.1:1/x", "postgresql://x@/x?host=/no/such/folder"):
        with pytest.raises(database.UnreachableError):
            await database.connect(url, "test")
        async with database.pool(url, "test", 1, 1) as pool:
            with pytest.raises(database.UnreachableError):
                await pool.fetchval("SELECT 1")


def test_a_console_file_with_any_name_is_looked_up_and_not_opened(polka: Running) -> None:
    for name in ("a" * 300 + ".js", "a" * 5000 + ".css", "%00.js", "..%2fapp.js", "app.js%00.js"):
        refused(client.get(f"{polka.url}/console/{name}"), 404, "not_found")
    assert client.get(f"{polka.url}/console/app.js").status_code == 200


def test_a_missing_table_or_column_is_a_failure_of_polka_and_not_of_the_database(services: Services) -> None:
    api = services.api().ready()
    statements = (
        "DROP TABLE liquidity_history CASCADE",
        "ALTER TABLE idempotency_keys RENAME COLUMN fingerprint TO other",
    )
    for statement in statements:
        asyncio.run(execute(services.database_url, statement))
    refused(client.get(f"{api.url}/liquidity/history?currency=USD"), 500, "internal")
    wait_for("the log has the traceback", lambda: "UndefinedTableError" in api.log.read_text())
    key = {"Idempotency-Key": "k"}
    for body in (payment(), payment(receiver="nobody")):
        problem = refused(client.post(f"{api.url}/transaction", json=body, headers=key), 500, "internal")
        assert "again" not in problem["detail"]
    refused(client.post(f"{api.url}/transactions", json=[payment()], headers=key), 500, "internal")
    assert "Traceback" in api.log.read_text()
    assert "UndefinedColumnError" in api.log.read_text()
    asyncio.run(execute(services.database_url, "ALTER TABLE idempotency_keys RENAME COLUMN other TO fingerprint"))
    assert client.post(f"{api.url}/transaction", json=payment(), headers=key).status_code == 201


def test_a_connection_that_is_cut_between_two_steps_of_a_statement_is_no_mistake(services: Services) -> None:
    async def take_a_step(step: str, is_cut: bool) -> None:
        connection = await database.connect(services.database_url, "test")
        try:
            with database.bounded(connection, WAIT_SECONDS):
                if is_cut:
                    database.cut(connection)
                getattr(connection._protocol, step)  # as asyncpg goes on when the step before has ended
        finally:
            database.cut(connection)

    with pytest.raises(database.UnreachableError):
        asyncio.run(take_a_step("bind_execute", is_cut=True))
    with pytest.raises(AttributeError):
        asyncio.run(take_a_step("no_such_step", is_cut=False))
