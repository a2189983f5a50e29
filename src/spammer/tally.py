"""The outcomes and latencies of payments, counted in each process and added up at the end."""

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

ACCEPTED = "accepted"
REFUSED_FOR_TERMS = ("cap_exceeded", "bank_suspended")
"""Rejections by the terms of a bank. A good run may have them."""
GOOD_ENDS = frozenset({ACCEPTED, *REFUSED_FOR_TERMS})
BAR_WIDTH = 25
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Bounds of the histogram of requests."""


@dataclass
class Tally:
    """Ended payments by outcome, attempts beyond the first, and latencies.

    `others` has the other operations by name and outcome. `details` has the first detail of each rejection code.
    `requests` counts single requests by operation and outcome; a payment may need several. `times` counts requests by
    operation and place among `SECONDS`, and `microseconds` has their sums by operation.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    milliseconds: Counter[int] = field(default_factory=Counter)
    retries: int = 0
    others: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    times: Counter[str] = field(default_factory=Counter)
    microseconds: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        """Whether all ended operations were accepted, or refused by a bank's terms."""
        return self.outcomes.keys() <= GOOD_ENDS and all(name.split()[-1] in GOOD_ENDS for name in self.others)

    @property
    def ended(self) -> int:
        return self.outcomes.total()

    def count(self, outcome: str, seconds: float, attempts: int) -> None:
        self.outcomes[outcome] += 1
        self.milliseconds[rounded(seconds * 1000)] += 1
        self.retries += attempts - 1

    def count_other(self, operation: str, outcome: str, attempts: int) -> None:
        self.others[f"{operation} {outcome}"] += 1
        self.retries += attempts - 1

    def count_request(self, operation: str, outcome: str, seconds: float) -> None:
        self.requests[f"{operation} {outcome}"] += 1
        self.times[f"{operation} {bisect_left(SECONDS, seconds)}"] += 1
        self.microseconds[operation] += round(seconds * 1_000_000)

    def note(self, code: str, detail: str) -> None:
        self.details.setdefault(code, detail)

    def add(self, other: "Tally") -> None:
        self.outcomes += other.outcomes
        self.milliseconds += other.milliseconds
        self.retries += other.retries
        self.others += other.others
        self.details = other.details | self.details
        self.requests += other.requests
        self.times += other.times
        self.microseconds += other.microseconds

    def percentile(self, share: float) -> int:
        """The milliseconds within which this share of the payments ended (nearest rank); 0 without payments."""
        rank = math.ceil(share * self.milliseconds.total())
        for milliseconds in sorted(self.milliseconds):
            rank -= self.milliseconds[milliseconds]
            if rank <= 0:
                return milliseconds
        return 0

    def to_message(self) -> dict[str, Any]:
        return {
            "outcomes": dict(self.outcomes),
            "milliseconds": dict(self.milliseconds),
            "retries": self.retries,
            "others": dict(self.others),
            "details": self.details,
            "requests": dict(self.requests),
            "times": dict(self.times),
            "microseconds": dict(self.microseconds),
        }

    @classmethod
    def of(cls, message: dict[str, Any]) -> "Tally":
        return cls(
            Counter(message["outcomes"]),
            Counter(message["milliseconds"]),
            message["retries"],
            Counter(message["others"]),
            message["details"],
            Counter(message["requests"]),
            Counter(message["times"]),
            Counter(message["microseconds"]),
        )


def rounded(milliseconds: float) -> int:
    """To two digits, because a long run must have few different values."""
    if milliseconds < 100:
        return max(1, round(milliseconds))
    digits = len(str(int(milliseconds)))
    return int(round(milliseconds, 2 - digits))


def latencies(tally: Tally) -> str:
    return "  ".join(f"p{round(share * 100)} {tally.percentile(share):,} ms" for share in (0.5, 0.95, 0.99))


def progress(tally: Tally, total: int, seconds: float) -> str:
    """The line during a run. The total of a run without end is 0."""
    wrong = tally.ended - tally.outcomes[ACCEPTED]
    rate = tally.ended / seconds if seconds else 0
    return f"{of(tally.ended, total)}  {rate:,.0f}/s  {latencies(tally)}  not accepted {wrong:,}"


def bar(tally: Tally, total: int, seconds: float) -> str:
    """The line during a run, with a bar, within 80 columns."""
    filled = BAR_WIDTH * tally.ended // total
    rate = tally.ended / seconds if seconds else 0
    return f"[{'#' * filled:.<{BAR_WIDTH}}]  {of(tally.ended, total)} payments  {rate:,.0f} a second"


def summary(tally: Tally, total: int, seconds: float) -> str:
    """The last lines of a run."""
    rate = tally.ended / seconds if seconds else 0
    lines = [
        f"{of(tally.ended, total)} payments in {seconds:.1f} s: {rate:,.0f} a second",
        f"latency  {latencies(tally)}",
        *(f"{count:>10,}  {outcome}" for outcome, count in tally.outcomes.most_common()),
        *(f"{count:>10,}  {outcome}" for outcome, count in sorted(tally.others.items())),
        f"{tally.retries:>10,}  sent again with the same key",
    ]
    return "\n".join(lines)


def of(ended: int, total: int) -> str:
    return f"{ended:,} of {total:,}" if total else f"{ended:,}"
