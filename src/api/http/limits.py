"""Limits: a token bucket for each bank and for each key of operators, in exact integers. The time is passed in."""

from api.http.refusals import Refusal, Refused

NANO = 1_000_000_000
BUCKETS_MIN = 1_000
"""Fewer buckets are never tidied."""


class Bucket:
    """Tokens that return at a steady rate, up to `burst`. A new bucket is full."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate_per_second: int, burst: int, now_nanoseconds: int) -> None:
        self._rate = rate_per_second  # also the billionths of a token that return in a nanosecond
        self._burst = burst * NANO
        self._level = self._burst
        self._at = now_nanoseconds

    def take(self, tokens: int, now_nanoseconds: int) -> int:
        """Take tokens, all or none. Returns 0, or the nanoseconds until enough tokens are there, without other takers.

        More tokens than the burst are taken from a full bucket, which then owes the rest.
        """
        wanted = tokens * NANO
        self._level = min(self._burst, self._level + (now_nanoseconds - self._at) * self._rate)
        self._at = now_nanoseconds
        missing = min(wanted, self._burst) - self._level
        if missing > 0:
            return -(-missing // self._rate)
        self._level -= wanted
        return 0

    def give_back(self, tokens: int) -> None:
        self._level = min(self._burst, self._level + tokens * NANO)

    def left(self) -> int:
        """The tokens after the last call of `take`."""
        return max(0, self._level // NANO)

    def is_full(self, now_nanoseconds: int) -> bool:
        """Whether the bucket is equal to a new bucket."""
        return self._level + (now_nanoseconds - self._at) * self._rate >= self._burst


class Limits:
    """The buckets of all recent callers in this process.

    All keys of a bank share one bucket, so more keys do not raise the limit. Full buckets are removed from time to
    time.
    """

    def __init__(self, rate_per_second: int, burst: int) -> None:
        self._rate_per_second = rate_per_second
        self._burst = burst
        self._buckets: dict[str, Bucket] = {}
        self._tidy_at = BUCKETS_MIN

    def take(self, share: str, requests: int, now_nanoseconds: int) -> Refused | None:
        """Count this number of requests, or return a refusal with the time of the next attempt."""
        bucket = self._buckets.get(share)
        if bucket is None:
            bucket = self._open(share, now_nanoseconds)
        wait_nanoseconds = bucket.take(requests, now_nanoseconds)
        return self._refusal(wait_nanoseconds, bucket.left()) if wait_nanoseconds else None

    def give_back(self, share: str, requests: int) -> None:
        """Undo the count of this number of requests."""
        if bucket := self._buckets.get(share):
            bucket.give_back(requests)

    def _open(self, share: str, now_nanoseconds: int) -> Bucket:
        if len(self._buckets) >= self._tidy_at:
            kept = {name: one for name, one in self._buckets.items() if not one.is_full(now_nanoseconds)}
            self._buckets = kept
            self._tidy_at = max(BUCKETS_MIN, 2 * len(kept))
        bucket = self._buckets[share] = Bucket(self._rate_per_second, self._burst, now_nanoseconds)
        return bucket

    def _refusal(self, wait_nanoseconds: int, left: int) -> Refused:
        """With the fields of draft-ietf-httpapi-ratelimit-headers-11. The window is the time in which an empty bucket
        fills."""
        seconds = -(-wait_nanoseconds // NANO)
        window = -(-self._burst // self._rate_per_second)
        return Refused(
            Refusal.RATE_LIMITED,
            f"All keys of a bank together have {self._rate_per_second} requests a second, {self._burst} at once.",
            headers=(
                ("retry-after", str(seconds)),
                ("ratelimit-policy", f'"default";q={self._burst};w={window}'),
                ("ratelimit", f'"default";r={left};t={seconds}'),
            ),
        )
