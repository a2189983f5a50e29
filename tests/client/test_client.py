"""Both clients against a running Polka: what they send, what they return, and what they raise."""

import asyncio
import json
import time

import pytest

from client_kinds import Connect
from door import Answer, Loss, door
from front_door import fetch
from listening import silent
from polka.client import (
    Amendment,
    AsyncClient,
    NotPolkaError,
    OutcomeUnknownError,
    Party,
    PartyAmendment,
    Payment,
    ProblemError,
    UnavailableError,
)
from polka.local.demo import free_port
from polka.rules.transactions import Transaction
from running import Running
from services import KEY

Banks = tuple[str, str, str]


def payment(banks: Banks, amount: int = 100) -> Payment:
    return Payment(Party(banks[0], "A1"), Party(banks[1], "B1"), amount, "USD", "Rent")


def stored(polka: Running, banks: Banks) -> int:
    """The number of payments that the test's bank has sent."""
    [(count,)] = fetch(polka.database_url, f"SELECT count(*) FROM transactions WHERE sender_bank = '{banks[0]}'")
    found: int = count
    return found


def test_a_payment_from_its_first_version_to_its_last(polka: Running, banks: Banks, connect: Connect, key: str) -> None:
    client = connect(polka.url)
    made = client.pay(payment(banks), idempotency_key=key)
    assert (made.version, made.amount, made.currency, made.sender) == (1, 100, "USD", Party(banks[0], "A1"))
    assert client.pay(payment(banks), idempotency_key=key) == made
    assert client.payment(made.id).id == client.outcome(key).id == made.id
    changed = client.amend(made.id, Amendment(receiver=PartyAmendment(account="B2")), reason="wrong account", version=1)
    assert (changed.version, changed.receiver) == (2, Party(banks[1], "B2"))
    with pytest.raises(ProblemError) as stale:
        client.delete(made.id, version=1)
    assert (stale.value.status, stale.value.code) == (412, "stale_version")
    assert client.delete(made.id, reason="paid twice").status == "deleted"
    history = client.history(made.id)
    assert history.transaction.version == 3
    assert [(old.transaction.version, old.reason) for old in history.old_versions] == [
        (2, "paid twice"),
        (1, "wrong account"),
    ]
    assert stored(polka, banks) == 1


def test_many_payments_in_one_request(polka: Running, banks: Banks, connect: Connect, key: str) -> None:
    client = connect(polka.url)
    good, bad = payment(banks), Payment(Party(banks[0], "A1"), Party("nobody here", "B1"), 100)
    done = client.pay_many([good, bad], mode="each", idempotency_key=key)
    assert [result.status for result in done.results] == [201, 422]
    assert client.outcome(key) == done
    with pytest.raises(ProblemError) as refused:
        client.pay_many([good, bad])
    assert [(item.index, item.code) for item in refused.value.items or ()] == [(1, "unknown_bank")]
    assert stored(polka, banks) == 1


def test_a_rejection_has_all_that_its_problem_says(polka: Running, banks: Banks, connect: Connect, key: str) -> None:
    client = connect(polka.url)
    with pytest.raises(ProblemError) as refused:
        client.pay(Payment(Party(banks[0], "A1"), Party("nobody here", "B1"), 100), idempotency_key=key)
    error = refused.value
    assert (error.type, error.status, error.code) == ("urn:polka:problem:unknown_bank", 422, "unknown_bank")
    assert (error.title, error.field) == ("There is no such bank", "receiver.bank")
    assert error.detail == "receiver.bank: there is no bank nobody here."
    assert str(error) == f"{error.detail} (422 unknown_bank)"
    assert error.idempotency_key == key


def test_a_payment_whose_answer_is_lost_is_made_once(polka: Running, banks: Banks, connect: Connect) -> None:
    """The api commits, and the answer never arrives. The client asks again and gets the same payment."""
    losses = dict(enumerate(Loss))
    with door(polka.url, losses.get) as entrance:
        made = connect(entrance.url, timeout_seconds=4).pay(payment(banks))
    assert stored(polka, banks) == 1
    assert connect(polka.url).payment(made.id).id == made.id
    assert list(entrance.keys.values()) == [3], "every attempt has the same idempotency key"


@pytest.mark.parametrize("loss", Loss)
def test_an_outcome_that_stays_unknown_is_raised_with_its_key(
    polka: Running, banks: Banks, connect: Connect, loss: Loss
) -> None:
    with door(polka.url, lambda _: loss) as entrance, pytest.raises(OutcomeUnknownError) as unknown:
        connect(entrance.url, timeout_seconds=0.5, deadline_seconds=2).pay(payment(banks))
    key = unknown.value.idempotency_key
    assert entrance.keys.keys() == {key}
    client = connect(polka.url)
    assert client.pay(payment(banks), idempotency_key=key).id == client.outcome(key).id
    assert stored(polka, banks) == 1


BUSY = json.dumps({"type": "x", "title": "x", "status": 503, "code": "overloaded", "detail": "The queue is full."})


def test_a_full_queue_is_left_alone_for_as_long_as_it_asks(polka: Running, banks: Banks, connect: Connect) -> None:
    busy: Answer = (503, BUSY, {"Retry-After": "1"})
    with door(polka.url, lambda number: busy if number == 0 else None) as entrance:
        began = time.monotonic()
        connect(entrance.url).pay(payment(banks))
    assert time.monotonic() - began >= 1
    assert list(entrance.keys.values()) == [2]
    assert stored(polka, banks) == 1


def test_a_queue_that_stays_full_is_the_problem_that_is_raised(polka: Running, banks: Banks, connect: Connect) -> None:
    busy: Answer = (503, BUSY, {"Retry-After": "60"})
    with door(polka.url, lambda _: busy) as entrance, pytest.raises(ProblemError, match="The queue is full"):
        connect(entrance.url).pay(payment(banks))
    assert list(entrance.keys.values()) == [1], "a minute is longer than the deadline"


def test_a_server_that_never_answers(banks: Banks, connect: Connect) -> None:
    with silent() as url:
        client = connect(url, timeout_seconds=0.2, deadline_seconds=1)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknownError, match="no answer in time"):
            client.pay(payment(banks))
        with pytest.raises(UnavailableError, match="no answer in time"):
            client.latest_payment()
        assert time.monotonic() - began < 10


def test_no_polka_there(banks: Banks, connect: Connect) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=rf"{url} does not answer: .*Is Polka running there\?"):
        connect(url).pay(payment(banks))
    assert time.monotonic() - began < 5, "a wrong address is not waited for"


def test_a_wrong_key(polka: Running, banks: Banks, connect: Connect) -> None:
    with pytest.raises(ProblemError, match="The key is not valid") as refused:
        connect(polka.url, "polka_" + "f" * 40).pay(payment(banks))
    assert (refused.value.status, refused.value.code) == (401, "unauthorized")
    with pytest.raises(ProblemError, match="Send a key along"):
        connect(polka.url, None).pay(payment(banks))


def test_an_address_of_something_else(polka: Running, banks: Banks, connect: Connect) -> None:
    with pytest.raises(NotPolkaError, match="answers 404 to POST /transaction, but not as a Polka does"):
        connect(polka.metrics_url).pay(payment(banks))
    with pytest.raises(ProblemError, match="There is no such route"):
        connect(f"{polka.url}/nowhere/").hello()


def test_all_payments_page_by_page_while_payments_come_in(polka: Running, banks: Banks, connect: Connect) -> None:
    client = connect(polka.url)
    before = [client.pay(payment(banks, amount)).id for amount in range(1, 8)]
    found: list[Transaction] = []
    for one in client.payments(bank=banks[0], page_size=2):
        found.append(one)
        client.pay(payment(banks, 500))
    assert [one.id for one in found] == before[::-1]


def test_payments_are_found_by_what_is_asked_for(polka: Running, banks: Banks, connect: Connect) -> None:
    client = connect(polka.url)
    first, second = client.pay(payment(banks, 5)), client.pay(payment(banks, 7))
    gone = client.delete(first.id)
    of_bank = {"bank": banks[0]}
    assert [one.id for one in client.payments(**of_bank, amount_min=6)] == [second.id]
    assert [one.id for one in client.payments(**of_bank, status="deleted")] == [gone.id]
    assert [one.id for one in client.payments(**of_bank, created_from=second.created_at)] == [second.id]
    assert [one.id for one in client.payments(**of_bank, created_to=second.created_at)] == [first.id]
    assert list(client.payments(**of_bank, reference="None & nothing")) == []


def test_banks_and_their_accounts(polka: Running, banks: Banks, connect: Connect) -> None:
    client = connect(polka.url)
    client.pay(payment(banks))
    assert set(banks) <= {bank.name for bank in client.banks(page_size=3)}
    bank = client.bank(banks[1])
    assert (bank.name, bank.caps, bank.suspended) == (banks[1], {}, "no")
    [account] = client.accounts(banks[1], account="B1")
    assert account.account == "B1"
    with pytest.raises(ProblemError, match="There is no bank nobody here"):
        client.bank("nobody here")


def test_the_greeting(polka: Running, connect: Connect) -> None:
    assert connect(polka.url, None).hello().name == "polka"


def test_one_client_pays_many_at_once_on_a_bounded_number_of_connections(polka: Running, banks: Banks) -> None:
    async def pay() -> list[Transaction]:
        async with AsyncClient(polka.url, KEY, connections_max=3) as client:
            return await asyncio.gather(*(client.pay(payment(banks)) for _ in range(40)))

    made = asyncio.run(pay())
    assert len({one.id for one in made}) == stored(polka, banks) == 40
