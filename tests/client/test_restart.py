"""Payments of both clients while their api is killed and started again: each is made once, and its caller learns so."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from front_door import fetch
from polka.client import AsyncClient, Client, Party, Payment, Transaction
from services import KEY, Services, wait_for
from waiting import WAIT_SECONDS

PAYMENT = Payment(Party("bank1", "A1"), Party("bank2", "B1"), 100, "USD")
PAYMENTS, CALLERS, KILLS = 400, 8, 4
BETWEEN_KILLS = PAYMENTS // (KILLS + 1)
COUNT = "SELECT count(*) FROM transactions"


def pay_by_threads(url: str, keys: Sequence[str]) -> dict[str, str]:
    """Pay once with each key, a few callers at a time. Returns the id of each key's payment."""
    with (
        Client(url, KEY, deadline_seconds=WAIT_SECONDS) as client,
        ThreadPoolExecutor(CALLERS) as callers,
    ):
        return dict(callers.map(lambda key: (key, client.pay(PAYMENT, idempotency_key=key).id), keys))


def pay_by_tasks(url: str, keys: Sequence[str]) -> dict[str, str]:
    async def pay(client: AsyncClient, keys: Sequence[str]) -> list[tuple[str, str]]:
        return [(key, (await client.pay(PAYMENT, idempotency_key=key)).id) for key in keys]

    async def pay_all() -> dict[str, str]:
        async with AsyncClient(url, KEY, deadline_seconds=WAIT_SECONDS) as client:
            parts = await asyncio.gather(*(pay(client, keys[part::CALLERS]) for part in range(CALLERS)))
            return dict(made for part in parts for made in part)

    return asyncio.run(pay_all())


@pytest.mark.parametrize("pay", [pay_by_threads, pay_by_tasks])
def test_payments_are_made_once_while_their_api_is_killed(
    services: Services, pay: Callable[[str, Sequence[str]], dict[str, str]]
) -> None:
    api = services.api().ready()

    def stored() -> int:
        [(count,)] = fetch(services.database_url, COUNT)
        found: int = count
        return found

    def has_paid(count: int) -> bool:
        return stored() >= count or made.done()

    keys = [f"payment-{number}" for number in range(PAYMENTS)]
    with ThreadPoolExecutor() as beside:
        made = beside.submit(pay, api.url, keys)
        for kill in range(1, KILLS + 1):
            wait_for("more payments are stored", partial(has_paid, kill * BETWEEN_KILLS))
            assert not made.done()
            api.kill()
            api.restart()
        ids = made.result(WAIT_SECONDS)
    assert ids.keys() == set(keys)
    assert len(set(ids.values())) == stored() == PAYMENTS
    with Client(api.url, KEY) as client:
        for key, id in ids.items():
            outcome = client.outcome(key)
            assert isinstance(outcome, Transaction)
            assert outcome.id == id
