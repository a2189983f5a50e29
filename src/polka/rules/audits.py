"""Answers of the api about the audit: its last runs."""

import msgspec

from polka.rules.formats import Time


class Skipped(msgspec.Struct, frozen=True):
    """A skipped check, or a skipped part of a check, and the reason. The findings of a skipped check are unknown."""

    check: str
    reason: str


class Finding(msgspec.Struct, frozen=True):
    """A fault, by the check that found it.

    With a currency, both numbers are minor units. Otherwise 1 is yes, and 0 is no.
    """

    check: str
    subject: str
    expected: str
    found: str
    currency: str | None = None


class Run(msgspec.Struct, frozen=True):
    """A run of the audit. Without `faults` and `skipped` checks, everything posted up to this flush is proved.

    `payments_new` came after the previous run. `payments_again` were proved before, and now again.
    Everything was proved from the first payment on since `verified_from`. The time is null until then.
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
    """Runs, the newest first, and the time since the end of the newest. The time is null without a run."""

    runs: list[Run]
    age_seconds: float | None
