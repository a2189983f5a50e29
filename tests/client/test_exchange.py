"""When a call is sent again, when it ends, and what its caller learns: without a socket."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polka.client import calls
from polka.client.calls import Call
from polka.client.errors import ClientError, NotPolkaError, OutcomeUnknownError, ProblemError, UnavailableError
from polka.client.exchange import Answer, Attempt, Cause, Outcome, Patience, Silence, exchange, retry_after_seconds
from polka.rules.problem import Problem
from polka.rules.transactions import Party, Payment, Transaction
from polka.rules.windows import Window

PAYMENT = Payment(Party("bank1", "A1"), Party("bank2", "B1"), 100)
TRANSACTION = msgspec.json.encode(
    Transaction("1", 1, "accepted", PAYMENT.sender, PAYMENT.receiver, 100, "USD", None, "2", datetime.now(UTC))
)
CLOSED = msgspec.json.encode(Window(1, "closed", datetime.now(UTC), None, None, 1, None))
LOST = Silence(Cause.LOST, "no answer in time.")
REFUSED = Silence(Cause.UNREACHED, "connection refused.")
BUSY = Silence(Cause.BUSY, "all in use.")
UNTRUSTED = Silence(Cause.UNTRUSTED, "not trusted.")
MADE = Answer(201, TRANSACTION)
PATIENCE = Patience(10.0, 30.0)


def problem(status: int, code: str, retry_after: str | None = None) -> Answer:
    document = Problem("urn:polka:problem:x", "A title", status, code, "A detail.")
    return Answer(status, msgspec.json.encode(document), retry_after)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def sent(
    call: Call[Any], *outcomes: Outcome, patience: Patience = PATIENCE, was_reached: bool = True, takes: float = 0.1
) -> tuple[object, list[Attempt]]:
    """The result, or the error, and the attempts, if these are the outcomes. The last one repeats."""
    clock = Clock()
    attempts = exchange(call, "http://polka", patience, was_reached, clock, lambda: 0.0)
    made = [next(attempts)]
    try:
        for count in range(1000):
            clock.now += made[-1].wait_seconds + takes
            made.append(attempts.send(outcomes[min(count, len(outcomes) - 1)]))
    except StopIteration as end:
        return end.value, made
    except ClientError as error:
        return error, made
    raise AssertionError("the call never ends")


PAY = calls.pay(PAYMENT, idempotency_key="rent")
READ = calls.payment("1")
OPEN_BANK = calls.open_bank("bank9")
CLOSE = calls.close_window(1)


@pytest.mark.parametrize(
    "outcome",
    [
        *(LOST, BUSY, REFUSED, Answer(502, b"<h1>Bad gateway</h1>"), Answer(503, b""), Answer(504, b"")),
        problem(503, "outcome_unknown", "1"),
        problem(504, "outcome_unknown"),
        *(problem(503, "overloaded", "1"), problem(503, "database_away", "1"), problem(504, "timeout")),
        *(problem(429, "rate_limited", "1"), problem(408, "slow")),
    ],
)
@pytest.mark.parametrize("call", [PAY, READ, CLOSE])
def test_a_call_that_may_succeed_soon_is_sent_again(call: Call[Any], outcome: Outcome) -> None:
    answer = Answer(200, CLOSED) if call is CLOSE else MADE
    result, attempts = sent(call, outcome, outcome, answer)
    assert result == call.read(answer.body)
    assert len(attempts) == 3


@pytest.mark.parametrize(
    "outcome",
    [
        *(UNTRUSTED, Answer(404, b"<h1>Not found</h1>"), Answer(301, b""), Answer(200, b"<h1>Welcome</h1>")),
        *(problem(401, "unauthorized"), problem(422, "unknown_bank"), problem(409, "cap_exceeded")),
        *(problem(503, "rates_stale"), problem(500, "internal"), Answer(500, b"oops")),
    ],
)
@pytest.mark.parametrize("call", [PAY, READ])
def test_an_answer_that_stays_the_same_is_not_asked_for_again(call: Call[Any], outcome: Outcome) -> None:
    error, attempts = sent(call, outcome)
    assert isinstance(error, ClientError)
    assert len(attempts) == 1


def test_the_first_connection_is_tried_once_because_the_address_may_be_wrong() -> None:
    error, attempts = sent(PAY, REFUSED, was_reached=False)
    assert isinstance(error, UnavailableError)
    assert len(attempts) == 1


def test_a_polka_that_was_reached_may_restart() -> None:
    assert sent(PAY, REFUSED, MADE, was_reached=True)[0] == PAY.read(TRANSACTION)
    assert sent(PAY, LOST, REFUSED, MADE, was_reached=False)[0] == PAY.read(TRANSACTION)


@pytest.mark.parametrize(
    "later",
    [
        *(LOST, REFUSED, BUSY, UNTRUSTED),
        *(problem(503, "overloaded", "1"), problem(503, "rates_stale"), problem(504, "timeout")),
        *(
            problem(500, "internal"),
            problem(401, "unauthorized"),
            problem(403, "forbidden"),
            problem(429, "rate_limited"),
        ),
        *(Answer(404, b"<h1>Not found</h1>"), Answer(502, b"")),
    ],
)
def test_an_unknown_outcome_stays_unknown_until_an_answer_settles_it(later: Outcome) -> None:
    """ "Nothing was recorded" speaks of the later attempt alone."""
    error, _ = sent(PAY, LOST, later)
    assert isinstance(error, OutcomeUnknownError)
    assert error.idempotency_key == "rent"
    assert "rent" in str(error)


def test_a_rejection_under_the_key_settles_an_unknown_outcome() -> None:
    error, attempts = sent(PAY, LOST, problem(409, "cap_exceeded"))
    assert isinstance(error, ProblemError)
    assert (error.status, error.code, error.idempotency_key) == (409, "cap_exceeded", "rent")
    assert len(attempts) == 2


def test_a_failure_of_polka_does_not_say_that_nothing_was_recorded() -> None:
    error, attempts = sent(PAY, problem(500, "internal"))
    assert isinstance(error, OutcomeUnknownError)
    assert len(attempts) == 1
    assert isinstance(sent(READ, problem(500, "internal"))[0], ProblemError)


@pytest.mark.parametrize("outcome", [Answer(200, b"<h1>Welcome</h1>"), Answer(201, b"{}"), Answer(500, b"oops")])
def test_an_unreadable_answer_to_a_payment_says_nothing_of_its_outcome(outcome: Outcome) -> None:
    assert isinstance(sent(PAY, outcome)[0], OutcomeUnknownError)
    assert isinstance(sent(READ, outcome)[0], NotPolkaError)


def test_a_read_has_no_unknown_outcome() -> None:
    assert isinstance(sent(READ, LOST)[0], UnavailableError)


def test_what_would_be_done_twice_is_not_sent_again() -> None:
    error, attempts = sent(OPEN_BANK, LOST)
    assert isinstance(error, OutcomeUnknownError)
    assert error.idempotency_key is None
    assert len(attempts) == 1
    error, attempts = sent(OPEN_BANK, problem(503, "database_away", "1"), Answer(201, b'{"name": "bank9"}'))
    assert len(attempts) == 2, "nothing was done by the first attempt"


def test_retry_after_is_waited_for_if_there_is_time() -> None:
    _, attempts = sent(PAY, problem(503, "overloaded", "7"), MADE)
    assert attempts[1].wait_seconds == 7
    error, attempts = sent(PAY, problem(503, "overloaded", "60"))
    assert isinstance(error, ProblemError)
    assert len(attempts) == 1


@given(
    st.lists(
        st.sampled_from([LOST, REFUSED, BUSY, problem(503, "overloaded", "3"), problem(504, "timeout")]), min_size=1
    ),
    st.floats(0.01, 20),
)
def test_a_call_ends_by_its_deadline(outcomes: list[Outcome], takes: float) -> None:
    now = 0.0
    _, attempts = sent(PAY, *outcomes, takes=takes)
    for attempt in attempts:
        now += attempt.wait_seconds
        assert 1.0 <= attempt.timeout_seconds <= 10.0
        assert now + attempt.timeout_seconds <= 30.0 + 1e-9
        now += takes


def test_the_number_of_attempts_has_a_bound_if_asked_for() -> None:
    error, attempts = sent(PAY, LOST, patience=Patience(10, 30, attempts_max=1))
    assert isinstance(error, OutcomeUnknownError)
    assert len(attempts) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        ("Mon, 30 Nov 2026 10:00:30 GMT", 30),
        ("Mon, 30 Nov 2026 09:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("Mon, 30 Nov 2026 10:00:30 -0000", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(text, datetime(2026, 11, 30, 10, tzinfo=UTC)) == seconds


def test_a_call_without_a_key_makes_one_for_all_its_attempts() -> None:
    first, second = calls.pay(PAYMENT), calls.pay(PAYMENT)
    assert first.idempotency_key == first.headers["Idempotency-Key"]
    assert first.idempotency_key != second.idempotency_key


@pytest.mark.parametrize("key", ["", "ü", "a\nb", "x" * 256, " a", "a\ud800"])
def test_an_idempotency_key_that_no_header_can_have(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency key"):
        calls.pay(PAYMENT, idempotency_key=key)


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_id_that_would_name_another_route(id: str) -> None:
    with pytest.raises(ValueError, match="no name and no id"):
        calls.payment(id)
    assert calls.delete("../../keys/1").path == "/transaction/..%2F..%2Fkeys%2F1"
