"""What the api answers about the audit: its last runs."""

import msgspec

from polka.rules.formats import Time


class Skipped(msgspec.Struct, frozen=True):
    """A check that an audit has skipped, or a part of one, and why. It says nothing of what the check would find."""

    check: str
    reason: str


class Finding(msgspec.Struct, frozen=True):
    """A fault, by the check that found it. With a currency, both numbers are minor units. Otherwise 1 is yes, 0 is no."""

    check: str
    subject: str
    expected: str
    found: str
    currency: str | None = None


class Run(msgspec.Struct, frozen=True):
    """A run of the audit. It proved all that was posted up to this flush, unless it has `faults` or `skipped` checks.

    Of the payments, `payments_new` are those since the run before, and `payments_again` those that were proved again.
    Everything was proved from the first payment on since `verified_from`; null until that was done once.
    """

    began_at: Time
    ended_at: Time
    flush: int
    payments_new: int
    payments_again: int
    faults: int
    findings: list[Finding]
    skipped: list[Skipped]
    verified_from: Time | None


class Runs(msgspec.Struct, frozen=True):
    """The newest first, and how long ago that one ended; null where there is none."""

    runs: list[Run]
    age_seconds: float | None
