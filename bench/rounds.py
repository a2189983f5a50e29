"""Rounds: both sides of a comparison are measured in turn, so noise of the machine hits both sides alike."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

Side = Callable[[], Awaitable[float]]
Timed = Callable[[int], Awaitable[float]]
"""A side that is measured for this number of seconds."""


async def compare(rounds: int, seconds: int, first: Timed, second: Timed) -> tuple[list[float], list[float]]:
    """The values of each side by round, after a second of warming up for each side."""
    for side in (first, second):
        await side(1)
    return await alternate(rounds, partial(first, seconds), partial(second, seconds))


async def alternate(rounds: int, first: Side, second: Side) -> tuple[list[float], list[float]]:
    """The values of each side by round. The sides take turns in going first, so a drift cancels."""
    values: tuple[list[float], list[float]] = ([], [])
    sides = (first, second)
    for number in range(rounds):
        for side in (number % 2, 1 - number % 2):
            values[side].append(await sides[side]())
    return values


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round."""
    return [value / other for value, other in zip(values, base, strict=True)]
