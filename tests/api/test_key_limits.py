"""How many payments a key, and all keys of a bank, may send, and when to come back."""

from bearers import key_of_bank, send
from front_door import fetch, refused
from services import Services, payment, wait_for


def test_a_key_has_a_limit_and_is_told_when_to_come_back(services: Services) -> None:
    api = services.api(POLKA_RATE_PER_SECOND="2", POLKA_RATE_BURST="3").ready()
    ours, others = (key_of_bank(api.url, bank) for bank in ("bank1", "bank2"))
    url = f"{api.url}/transaction"
    answers = [send("POST", url, ours, payment()) for _ in range(10)]
    assert [answer.status_code for answer in answers[:3]] == [201] * 3
    over = next(answer for answer in answers if answer.status_code != 201)
    refused(over, 429, "rate_limited")
    assert over.headers["retry-after"] == "1"
    assert over.headers["ratelimit-policy"] == '"default";q=3;w=2'
    assert over.headers["ratelimit"] == '"default";r=0;t=1'
    assert send("POST", url, others, payment(sender="bank2", receiver="bank1")).status_code == 201
    wait_for("it may come back", lambda: send("POST", url, ours, payment()).status_code == 201)


def test_a_payment_that_is_sent_again_counts_once_each_time(services: Services) -> None:
    """Its answer is known: it takes another way than the first."""
    api = services.api(POLKA_RATE_PER_SECOND="1", POLKA_RATE_BURST="30").ready()
    ours = key_of_bank(api.url, "bank1") | {"Idempotency-Key": "again"}
    assert [send("POST", f"{api.url}/transaction", ours, payment()).status_code for _ in range(30)] == [201] * 30


def test_all_keys_of_a_bank_share_one_limit(services: Services) -> None:
    """Ten keys are no ten limits. Each key of operators has its own, because they pay for all banks."""
    api = services.api(POLKA_RATE_PER_SECOND="1", POLKA_RATE_BURST="20").ready()
    ours = [key_of_bank(api.url, "bank1") for _ in range(10)]
    statuses = [send("GET", f"{api.url}/banks/bank1", one).status_code for one in ours for _ in range(3)]
    assert statuses.count(200) < 30
    assert 429 in statuses
    assert send("GET", f"{api.url}/banks/bank2", key_of_bank(api.url, "bank2")).status_code == 200


def test_a_bulk_request_counts_by_its_payments(services: Services) -> None:
    api = services.api(POLKA_RATE_PER_SECOND="1", POLKA_RATE_BURST="100").ready()
    key = key_of_bank(api.url, "bank1")
    assert send("POST", f"{api.url}/transactions", key, [payment() for _ in range(90)]).status_code == 201
    over = send("POST", f"{api.url}/transactions", key, [payment() for _ in range(90)])
    refused(over, 429, "rate_limited")
    assert over.headers["retry-after"] == "80"
    assert fetch(services.database_url, "SELECT count(*) FROM transactions") == [(90,)]
