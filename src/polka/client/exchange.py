"""One call from its first attempt to its result: pure, without a socket.

A caller of `exchange` sends each attempt and returns its outcome. Every attempt of a call has the same idempotency key,
so a payment is made once. An attempt without an answer leaves the outcome unknown. A later "nothing was recorded"
refers only to the later attempt. The outcome stays unknown until an answer settles both.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Generic, TypeVar

import msgspec

from polka.client.calls import Call
from polka.client.errors import ClientError, NotPolkaError, OutcomeUnknownError, ProblemError, UnavailableError
from polka.rules.problem import Problem

T = TypeVar("T")

PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.1, 2.0
"""Before the second attempt, and at most. The pause doubles from attempt to attempt."""
ATTEMPT_SECONDS_MIN = 1.0
"""Another attempt begins only if this much time is left. A hopeless attempt could turn a known outcome into an
unknown."""
TOLD = 0.9
"""Polka's part of the time of an attempt. The rest is for the way of the answer."""

OUTCOME_UNKNOWN = "outcome_unknown"
UNSAID_CODES = (OUTCOME_UNKNOWN, "internal")
"""Problems after which a payment may be recorded."""
PASSING_CODES = (OUTCOME_UNKNOWN, "timeout", "slow")
"""Problems without `Retry-After` after which the same request may succeed at once."""
BEFORE_THE_KEY = (401, 403, 408, 429)
"""Statuses of problems from checks before the idempotency key."""
BY_A_PROXY = (502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """The time limits of a call, and of one attempt. `attempts_max` is None if only time limits the attempts."""

    timeout_seconds: float
    deadline_seconds: float
    attempts_max: int | None = None


@dataclass(frozen=True)
class Attempt:
    """Wait, then send the request, and wait up to `timeout_seconds` for its answer."""

    wait_seconds: float
    timeout_seconds: float

    @property
    def told(self) -> str:
        """The time for Polka, for the header `Request-Timeout`."""
        return f"{max(1, int(self.timeout_seconds * TOLD * 1000))}ms"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    retry_after: str | None = None


class Cause(Enum):
    """The reason for a missing answer."""

    UNREACHED = "no connection: nothing was sent"
    BUSY = "all connections of the client are in use: nothing was sent"
    UNTRUSTED = "TLS has failed: nothing was sent"
    LOST = "the request was sent"


@dataclass(frozen=True)
class Silence:
    """No answer, with the reason in words."""

    cause: Cause
    reason: str


Outcome = Answer | Silence


@dataclass(frozen=True)
class Done(Generic[T]):
    result: T


@dataclass(frozen=True)
class Failed:
    """An attempt without a result. `may_be_done`: the request may have been done all the same. `passes`: the same
    request may succeed soon."""

    error: ClientError
    may_be_done: bool = False
    passes: bool = False
    retry_after_seconds: float = 0.0

    @property
    def settles(self) -> bool:
        """Whether the answer also proves that no earlier attempt was done."""
        error = self.error
        return isinstance(error, ProblemError) and error.status < 500 and error.status not in BEFORE_THE_KEY


def exchange(
    call: Call[T],
    url: str,
    patience: Patience,
    was_reached: bool,
    clock: Callable[[], float],
    chance: Callable[[], float],
) -> Generator[Attempt, Outcome, T]:
    """The attempts of a call; the generator returns the result. `was_reached`: this Polka has been reached before.

    Polka may restart, so a refused connection is tried again. A refused first connection is not, because usually the
    address is wrong.

    Raises:
        ClientError: there is no result.
    """
    ends_at = clock() + patience.deadline_seconds
    may_be_done = False
    wait = 0.0
    count = 0
    while True:
        count += 1
        outcome = yield Attempt(wait, min(patience.timeout_seconds, ends_at - clock() - wait))
        was_reached = was_reached or has_reached(outcome)
        match judged(call, url, outcome, was_reached):
            case Done(result):
                return result
            case Failed() as failed:
                may_be_done = failed.may_be_done or (may_be_done and not failed.settles)
        wait = pause(count, failed.retry_after_seconds, chance())
        has_time = clock() + wait + min(patience.timeout_seconds, ATTEMPT_SECONDS_MIN) <= ends_at
        has_attempts = patience.attempts_max is None or count < patience.attempts_max
        may_repeat = call.is_repeatable or not may_be_done
        if failed.passes and may_repeat and has_time and has_attempts:
            continue
        if may_be_done:
            raise unknown(call, failed.error) from failed.error
        raise failed.error


def has_reached(outcome: Outcome) -> bool:
    """Whether the attempt has reached a Polka: the request was sent, or even answered."""
    return isinstance(outcome, Answer) or outcome.cause is Cause.LOST


def judged(call: Call[T], url: str, outcome: Outcome, was_reached: bool) -> Done[T] | Failed:
    """The meaning of the outcome of an attempt."""
    key = call.idempotency_key
    if isinstance(outcome, Silence):
        error = UnavailableError(f"{url} does not answer: {outcome.reason}", key)
        match outcome.cause:
            case Cause.LOST:
                return Failed(error, call.writes, passes=True)
            case Cause.BUSY:
                return Failed(error, passes=True)
            case Cause.UNREACHED:
                return Failed(error, passes=was_reached)
            case Cause.UNTRUSTED:
                return Failed(error)
    said = f"{url} answers {outcome.status} to {call.method} {call.path}"
    if 200 <= outcome.status < 300:
        try:
            return Done(call.read(outcome.body))
        except ValueError as error:
            return Failed(NotPolkaError(f"{said}, but not as a Polka does: {error}", key), call.writes)
    seconds = retry_after_seconds(outcome.retry_after, datetime.now(UTC))
    try:
        problem = msgspec.json.decode(outcome.body, type=Problem)
    except ValueError:
        if outcome.status in BY_A_PROXY:
            unavailable = UnavailableError(f"{said}, without a word of Polka's", key)
            return Failed(unavailable, call.writes, passes=True, retry_after_seconds=seconds or 0.0)
        return Failed(NotPolkaError(f"{said}, but not as a Polka does", key), call.writes and outcome.status >= 500)
    return Failed(
        ProblemError(problem, key),
        may_be_done=call.writes and problem.code in UNSAID_CODES,
        passes=seconds is not None or problem.code in PASSING_CODES,
        retry_after_seconds=seconds or 0.0,
    )


def pause(count: int, retry_after_seconds: float, chance: float) -> float:
    """The seconds before the next attempt: at least Polka's `Retry-After`, spread by chance, from 0 to 1."""
    seconds: float = min(PAUSE_SECONDS * 2 ** min(count - 1, 10), PAUSE_SECONDS_MAX)
    return max(seconds * (1 + chance) / 2, retry_after_seconds * (1 + chance / 10))


def retry_after_seconds(text: str | None, now: datetime) -> float | None:
    """From the header `Retry-After` (RFC 9110): seconds, or a date. None without this header."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        seconds: float = (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0.0, seconds)


def unknown(call: Call[T], error: ClientError) -> OutcomeUnknownError:
    key = call.idempotency_key
    advice = f"Send it again with the idempotency key {key}." if key else "See what is there before you send it again."
    return OutcomeUnknownError(f"{call.method} {call.path} may or may not be done: {error} {advice}", key)
