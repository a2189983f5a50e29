"""The storm of `crash.py`, short: nothing is lost or doubled, whatever is killed or frozen."""

import asyncio
import random

import pytest

from crash import crash


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_doubled_whatever_is_killed_or_frozen(seed: int) -> None:
    verdict = asyncio.run(crash(18, random.Random(seed)))
    assert verdict.is_good, [str(verdict), *verdict.wrong]
    assert verdict.kills == 18
    assert verdict.acknowledged > 200
