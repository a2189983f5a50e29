"""The storm of `crash.py`, short: nothing is lost or doubled, whatever is killed or frozen.

`make crash` runs the same storm with a thousand kills.
"""

import asyncio
import random

from crash import crash


def test_nothing_is_lost_or_doubled_whatever_is_killed_or_frozen() -> None:
    """The kills follow each other so closely that several processes are down at once."""
    verdict = asyncio.run(crash(8, random.Random(1), is_enough=lambda storm: len(storm.acknowledged) > 50))
    assert verdict.is_good, [str(verdict), *verdict.wrong]


def test_every_entry_is_in_exactly_one_window_whatever_is_killed_or_frozen() -> None:
    """With time between the kills to close and settle many windows under load; the audit looks into each."""
    verdict = asyncio.run(
        crash(
            8,
            random.Random(3),
            pause_seconds_max=5,
            is_enough=lambda storm: len(storm.windows) > 10 and len(storm.acknowledged) > 200,
        )
    )
    assert verdict.is_good, [str(verdict), *verdict.wrong]
