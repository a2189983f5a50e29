"""A range of numbers, which names its bounds in messages and help texts."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, without `least` if `is_open`."""

    least: float
    most: float = math.inf
    is_open: bool = False

    def __contains__(self, number: float) -> bool:
        is_enough = number > self.least if self.is_open else number >= self.least
        return is_enough and number <= self.most and number < math.inf

    def __str__(self) -> str:
        if self.is_open:
            return f"more than {self.least}, and finite"
        return f"{self.least} or more" if self.most == math.inf else f"{self.least} to {self.most:,}"
