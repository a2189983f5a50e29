"""The storm of `crash.py`, short: nothing is lost or doubled, whatever is killed or frozen."""

import asyncio
import random

import pytest

from crash import crash


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_doubled_whatever_is_killed_or_frozen(seed: int) -> None:
    verdict = asyncio.run(crash(18, random.Random(seed), is_enough=lambda storm: len(storm.acknowledged) > 200))
    assert verdict.is_good, [str(verdict), *verdict.wrong]


def test_every_entry_is_in_exactly_one_window_whatever_is_killed_or_frozen() -> None:
    """With time between the kills to close and settle many windows under load; the audit looks into each."""
    verdict = asyncio.run(
        crash(8, random.Random(3), pause_seconds_max=5, is_enough=lambda storm: len(storm.windows) > 10)
    )
    assert verdict.is_good, [str(verdict), *verdict.wrong]
