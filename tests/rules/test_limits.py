"""Token buckets, against a slower way to the same: never more than burst and rate allow, never less."""

import re
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from api.http.limits import BUCKETS_MIN, NANO, Bucket, Limits
from api.http.refusals import Refusal
from polka.rules.keys import caller_of
from polka.rules.transactions import BANK_NAME

rates = st.integers(1, 50_000)
bursts = st.integers(1, 100)
steps = st.lists(st.tuples(st.integers(0, 3 * NANO), st.integers(1, 120)), max_size=50)


@given(rates, bursts, steps)
def test_a_bucket_gives_what_its_rate_and_burst_allow(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket = Bucket(rate, burst, 0)
    now, level = 0, Fraction(burst)
    for pause, tokens in steps:
        now += pause
        level = min(Fraction(burst), level + Fraction(pause * rate, NANO))
        taken = bucket.take(tokens, now) == 0
        assert taken == (level >= min(tokens, burst))
        level -= tokens if taken else 0


@given(rates, bursts, steps, st.integers(1, 120))
def test_whoever_waits_as_long_as_told_is_served_and_not_a_nanosecond_sooner(
    rate: int, burst: int, steps: list[tuple[int, int]], tokens: int
) -> None:
    bucket, early = Bucket(rate, burst, 0), Bucket(rate, burst, 0)
    now = 0
    for pause, other in steps:
        now += pause
        bucket.take(other, now)
        early.take(other, now)
    wait = bucket.take(tokens, now)
    if wait:
        assert early.take(tokens, now + wait - 1) > 0
        assert bucket.take(tokens, now + wait) == 0


@given(rates, bursts, steps)
def test_over_any_time_no_more_is_taken_than_burst_and_rate(
    rate: int, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket = Bucket(rate, burst, 0)
    now = taken = 0
    for pause, tokens in steps:
        now += pause
        if tokens <= burst and bucket.take(tokens, now) == 0:
            taken += tokens
    assert taken * NANO <= burst * NANO + now * rate


@given(rates, bursts, steps)
def test_a_bucket_that_is_full_is_as_good_as_a_new_one(rate: int, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket = Bucket(rate, burst, 0)
    now = 0
    for pause, tokens in steps:
        now += pause
        bucket.take(tokens, now)
        later = now + 3 * NANO
        same = Bucket(rate, burst, now)
        if bucket.is_full(now):
            assert bucket.take(burst, later) == same.take(burst, later) == 0
            assert bucket.take(1, later) == same.take(1, later) > 0
            now = later


def test_buckets_of_those_who_ask_no_more_are_forgotten() -> None:
    limits = Limits(rate_per_second=10, burst=20)
    assert limits.take("busy", 20, 0) is None
    for number in range(100_000):
        now = number * NANO // 1_000  # who has asked once has a full bucket after a tenth of a second
        assert limits.take(str(number), 1, now) is None
        if number % 50 == 0:
            limits.take("busy", 1, now)
    assert len(limits._buckets) <= BUCKETS_MIN
    assert limits.take("busy", 2, now) is not None, "its bucket is as empty as it was"


def test_a_banks_keys_share_one_limit_and_operators_have_one_for_each_key() -> None:
    callers = [caller_of(id, bank, ()) for id, bank in (("1", "a"), ("2", "a"), ("3", "b"), ("4", None), ("5", None))]
    assert [caller.share for caller in callers] == ["a", "a", "b", "key/4", "key/5"]
    assert not re.fullmatch(BANK_NAME, callers[3].share), "no bank can have this name"


def test_each_key_has_a_bucket_of_its_own_and_the_refusal_says_when_to_come_back() -> None:
    limits = Limits(rate_per_second=2, burst=3)
    assert [limits.take("a", 1, 0) for _ in range(3)] == [None, None, None]
    refused = limits.take("a", 2, 0)
    assert refused is not None
    assert refused.refusal is Refusal.RATE_LIMITED
    assert dict(refused.headers) == {
        "retry-after": "1",
        "ratelimit-policy": '"default";q=3;w=2',
        "ratelimit": '"default";r=0;t=1',
    }
    assert limits.take("b", 2, 0) is None
    assert (refused := limits.take("b", 3, 0)) is not None
    assert dict(refused.headers)["ratelimit"] == '"default";r=1;t=1'
    assert limits.take("a", 2, NANO) is None
