"""Drills: their reports, and the comparison of acknowledged and stored payments. Pure.

A drill pays through the front door, kills a process meanwhile, and compares the answers with the stored payments.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import msgspec

from polka.rules.formats import Time
from polka.rules.money import written

LATE_SECONDS = 1.0


class Target(Enum):
    """The process that a drill kills."""

    CACHE = "cache"
    API = "api"
    POSTGRES = "postgres"


class Step(Enum):
    """Steps of a drill: payments before the kill, during the recovery, and after; then the comparison."""

    BEFORE = "before"
    AWAY = "away"
    AFTER = "after"
    COMPARING = "comparing"
    ENDED = "ended"


class Findings(msgspec.Struct, frozen=True):
    """The payments of a drill in the database.

    `lost` were acknowledged and are missing, `doubled` are rows beyond the first, `unacknowledged` are stored without
    an acknowledgement. `wrong_balances` lists in words the balances that differ from the acknowledged payments.
    """

    stored_before: int
    stored_after: int
    lost: int
    doubled: int
    unacknowledged: int
    wrong_balances: Sequence[str] = ()

    @property
    def are_good(self) -> bool:
        return not (self.lost or self.doubled or self.unacknowledged or self.wrong_balances)


class Drill(msgspec.Struct, frozen=True):
    """The report of a drill. Payments count as acknowledged before the kill or after the kill.

    `process` is the killed process. `waiting` payments have no certain answer yet, `refused` payments were rejected
    for good, `late` payments were acknowledged after more than a second. `repeated` counts requests sent again.
    `first_answer_seconds` is the time from the kill to the first success of a later request, `ready_seconds` the time
    to the ready process. `failure` is the reason why the drill proves nothing. `is_good` is known at the end: nothing
    is lost, doubled or left open.
    """

    id: int
    target: Target
    process: str
    step: Step
    started_at: Time
    killed_at: Time | None
    ended_at: Time | None
    acknowledged_before: int
    acknowledged_after: int
    waiting: int
    repeated: int
    refused: int
    late: int
    longest_wait_seconds: float
    first_answer_seconds: float | None
    ready_seconds: float | None
    findings: Findings | None
    failure: str | None
    is_good: bool | None


class Drills(msgspec.Struct, frozen=True):
    """Possible targets, the running drill, and the last drills, the newest first."""

    targets: list[Target]
    running: Drill | None
    results: list[Drill]


class DrillToStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: Target


@dataclass
class Payment:
    """A payment of a drill. Its id is None until its acknowledgement."""

    key: str
    sender: tuple[str, str]
    receiver: tuple[str, str]
    amount: int
    id: str | None = None
    fee: int = 0
    is_refused: bool = False
    is_before_kill: bool = True


@dataclass
class Record:
    """The events of a drill. Times are in seconds of a single clock."""

    payments: list[Payment] = field(default_factory=list)
    killed_at: float | None = None
    ready_at: float | None = None
    first_answer_at: float | None = None
    longest_wait_seconds: float = 0.0
    late: int = 0
    repeated: int = 0

    def acknowledge(self, payment: Payment, id: str, fee: int, began: float, asked: float, now: float) -> None:
        """The payment, begun at `began` and last asked for at `asked`, has got its yes."""
        payment.id, payment.fee = id, fee
        payment.is_before_kill = self.killed_at is None
        self.late += now - began > LATE_SECONDS
        self.longest_wait_seconds = max(self.longest_wait_seconds, now - began)
        if self.killed_at is not None and self.first_answer_at is None and asked >= self.killed_at:
            self.first_answer_at = now

    @property
    def acknowledged(self) -> int:
        return sum(payment.id is not None for payment in self.payments)

    @property
    def acknowledged_before(self) -> int:
        return sum(payment.id is not None and payment.is_before_kill for payment in self.payments)

    @property
    def refused(self) -> int:
        return sum(payment.is_refused for payment in self.payments)

    @property
    def waiting(self) -> int:
        return len(self.payments) - self.acknowledged - self.refused

    def since_kill(self, at: float | None) -> float | None:
        """In seconds, to the millisecond."""
        return None if at is None or self.killed_at is None else round(at - self.killed_at, 3)


def compare(payments: Iterable[Payment], stored: Iterable[tuple[str, str]], wrong_balances: Sequence[str]) -> Findings:
    """The outcome of the payments. `stored` has the id and the key of each stored payment."""
    ids: dict[str, set[str]] = defaultdict(set)
    for id, key in stored:
        ids[key].add(id)
    acknowledged = {payment.key: payment for payment in payments if payment.id is not None}
    found = [payment for payment in acknowledged.values() if payment.id in ids[payment.key]]
    before = sum(payment.is_before_kill for payment in found)
    return Findings(
        stored_before=before,
        stored_after=len(found) - before,
        lost=len(acknowledged) - len(found),
        doubled=sum(max(0, len(of_key) - 1) for of_key in ids.values()),
        unacknowledged=sum(bool(of_key) for key, of_key in ids.items() if key not in acknowledged),
        wrong_balances=wrong_balances,
    )


def balances(payments: Iterable[Payment]) -> dict[tuple[str, str], int]:
    """The sums of the acknowledged payments, by bank and account."""
    sums: dict[tuple[str, str], int] = defaultdict(int)
    for payment in payments:
        if payment.id is not None:
            sums[payment.sender] -= payment.amount + payment.fee
            sums[payment.receiver] += payment.amount
    return dict(sums)


def differences(
    expected: Mapping[tuple[str, str], int], found: Mapping[tuple[str, str], int], currency: str
) -> list[str]:
    """In words, the balances of both banks that differ from the expected balances."""
    return [
        f"{' '.join(place)}: {written(found.get(place, 0), currency)} instead of "
        f"{written(expected.get(place, 0), currency)}"
        for place in sorted(expected.keys() | found.keys())
        if expected.get(place, 0) != found.get(place, 0)
    ]
