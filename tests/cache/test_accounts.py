"""The cache's answers about accounts: of one flush, whole, and for as long as the caller waits."""

import asyncpg
import pytest

from committed import account_held, commit, held, new_id, tell, transfer
from polka.store import seed
from proof import clean_audit
from services import QUICK, SLOW, Services, cache_client, until

pytestmark = pytest.mark.anyio

NUL = "A value contains a NUL character, which is not allowed."


@pytest.mark.parametrize("query", ["", "?account=A1"])
async def test_a_page_of_accounts_that_memory_cannot_give_is_given_up_with_its_caller(
    services: Services, connection: asyncpg.Connection, query: str
) -> None:
    """Another cache has posted, and this one does not know yet that it is outdated."""
    outdated = services.cache(**SLOW).ready()
    second = services.another_cache(**QUICK).ready()
    await commit(connection, transfer(1))
    await until("it is posted", lambda: held(second.url, "bank1") == (-1, 0))
    patience, path = {"Request-Timeout": "100ms"}, f"/balance/bank1/accounts{query}"
    for headers in (patience, {"Request-Timeout": "1h"}, {}):
        assert cache_client.get(f"{outdated.url}{path}", headers=headers).status_code == 503
    assert cache_client.get(f"{second.url}{path}", headers=patience).status_code == 200


async def test_a_nul_is_the_callers_fault(services: Services) -> None:
    cache = services.cache().ready()
    for asked in (
        "/a%00/accounts?account=ACC1",
        "/a%00/accounts",
        "/bank1/accounts?after=%00",
        "/bank1/accounts?account=%00",
        "?after=%00",
    ):
        answer = cache_client.get(f"{cache.url}/balance{asked}")
        assert (asked, answer.status_code, answer.json()["detail"]) == (asked, 400, NUL)


async def test_an_accounts_answer_never_counts_a_batch_twice_or_leaves_it_out(
    services: Services, connection: asyncpg.Connection
) -> None:
    """Posted and pending together grow with each batch, through every flush in between."""
    cache = services.cache(POLKA_FLUSH_SECONDS="0.02").ready()
    for n in range(1, 101):
        batch = new_id()
        tell(cache.url, batch, transfer(1))
        assert sum(account_held(cache.url, "bank2", "B1")) == n
        await commit(connection, transfer(1), batch)
        assert sum(account_held(cache.url, "bank2", "B1")) == n
        assert sum(held(cache.url, "bank2")) == n
    await clean_audit(services.database_url, cache.url)


async def test_an_account_is_not_answered_as_of_a_flush_that_memory_has_not(
    services: Services, connection: asyncpg.Connection
) -> None:
    cache = services.cache(**SLOW).ready()
    tell(cache.url, new_id(), transfer(100))
    await connection.execute("UPDATE flush SET number = number + 1")
    for query in ("", "?account=A1"):
        url = f"{cache.url}/balance/bank1/accounts{query}"
        assert cache_client.get(url, headers={"Request-Timeout": "1s"}).status_code == 503
    await connection.execute("UPDATE flush SET number = number - 1")
    assert account_held(cache.url, "bank1", "A1") == (0, -100)


async def test_pages_of_accounts_hold_those_that_have_nothing_posted_yet(
    services: Services, connection: asyncpg.Connection
) -> None:
    await seed.seed(services.database_url, 20, 200)
    cache = services.cache(**SLOW).ready()
    tell(cache.url, new_id(), [("bank1", "ACC3X", "USD", -5), ("bank2", "B1", "USD", 5)])
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        params: dict[str, str | int] = {"after": after, "limit": 4}
        page = cache_client.get(f"{cache.url}/balance/bank1/accounts", params=params).json()
        names += [account["account"] for account in page["accounts"]]
        after = page["next"]
    assert names == sorted([*(f"ACC{n}" for n in range(1, 11)), "ACC3X"])


async def test_one_account_is_answered_as_in_a_page(services: Services, connection: asyncpg.Connection) -> None:
    """The door answers it, and Litestar the page."""
    await seed.seed(services.database_url, 2, 20)
    cache = services.cache(**SLOW).ready()
    await connection.execute("INSERT INTO banks (name) VALUES ('The bank-5')")
    tell(cache.url, new_id(), [("bank1", "NEW", "USD", -5), ("bank1", "ACC1", "EUR", -7), ("bank2", "ACC1", "EUR", 12)])
    tell(cache.url, new_id(), [("The bank-5", "A1", "USD", -5), ("bank2", "ACC1", "USD", 5)])
    for bank, account in (
        *(("bank1", account) for account in ("ACC1", "ACC2", "NEW", "NONE")),
        ("The%20bank-5", "A1"),
    ):
        url = f"{cache.url}/balance/{bank}/accounts?account={account}"
        one, page = cache_client.get(url), cache_client.get(f"{url}&limit=100")
        assert one.status_code == page.status_code == 200
        assert one.content == page.content
        assert [found["account"] for found in one.json()["accounts"]] == ([account] if account != "NONE" else [])
