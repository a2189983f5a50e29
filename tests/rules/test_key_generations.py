"""The generations of idempotency keys as a small model, searched to its end: a key pays once as long as it is kept.

Two apis pay under one key, at any time and as often as they like. Each step of theirs and of the cache may be late.
`PROTECTIONS` are the rules of `0017_key_generations.py` and `commits.py`. Without one of them, there is a shortest way
to pay twice.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import pytest

KEPT = 2
"""How many ticks of the database's clock a key is kept."""
TICKS = 6
PROTECTIONS = {
    "the commit shares the lock",
    "the commit checks its generation after it has the lock",
    "the commit looks into the previous generation",
    "a generation lasts as long as a key is kept",
    "only the table before the previous one is emptied",
    "emptying holds the generation",
}


class Commit(NamedTuple):
    """A statement of an api: what it believes, what it saw of the previous table, and whether it has its locks."""

    number: int
    seen: bool
    is_locked: bool = False


class State(NamedTuple):
    now: int = 0
    number: int = 1
    began: int = 0
    tables: tuple[bool, bool, bool] = (False, False, False)
    """Whether the key is in each table."""
    beliefs: tuple[int, int] = (1, 1)
    commits: tuple[Commit | None, Commit | None] = (None, None)
    emptying: int | None = None
    """The generation that the cache has read to empty a table, if it is in the midst of that."""
    paid: tuple[int, ...] = ()
    """When the key paid, without payments that are older than a key is kept: nothing depends on them."""


def replaced(values: tuple[object, ...], place: int, value: object) -> tuple[object, ...]:
    return (*values[:place], value, *values[place + 1 :])


def successors(s: State, rules: set[str]) -> Iterator[tuple[str, State]]:
    if s.now < TICKS:
        now = s.now + 1
        yield "time passes", s._replace(now=now, paid=tuple(at for at in s.paid if now - at < KEPT))
    for api in (0, 1):
        yield from steps_of_api(s, api, rules)
    yield from steps_of_cache(s, rules)


def steps_of_api(s: State, api: int, rules: set[str]) -> Iterator[tuple[str, State]]:
    commit, belief = s.commits[api], s.beliefs[api]

    def doing(following: Commit | None, **changes: object) -> State:
        return s._replace(commits=replaced(s.commits, api, following), **changes)  # type: ignore[arg-type]

    if belief != s.number:
        yield f"api {api} reads the generation", s._replace(beliefs=replaced(s.beliefs, api, s.number))  # type: ignore[arg-type]
    if commit is None:
        seen = s.tables[(belief - 1) % 3] and "the commit looks into the previous generation" in rules
        yield f"api {api} sends a commit for generation {belief}", doing(Commit(belief, seen))
        return
    if not commit.is_locked:
        if "the commit checks its generation after it has the lock" in rules and commit.number != s.number:
            yield f"api {api} fails: outdated", doing(None)
        else:
            yield f"api {api} has its locks", doing(commit._replace(is_locked=True))
        return
    other = s.commits[1 - api]
    if commit.seen or s.tables[commit.number % 3]:
        yield f"api {api} fails: the key is taken", doing(None)
    elif other is None or not other.is_locked or other.number % 3 != commit.number % 3 or api == 0:
        # Of two that insert into one index, the second waits; here api 0 comes first, which loses nothing.
        tables = replaced(s.tables, commit.number % 3, True)
        yield f"api {api} commits at {s.now}", doing(None, tables=tables, paid=(*s.paid, s.now))


def steps_of_cache(s: State, rules: set[str]) -> Iterator[tuple[str, State]]:
    is_held = "emptying holds the generation" in rules and s.emptying is not None
    is_due = s.now >= s.began + KEPT or "a generation lasts as long as a key is kept" not in rules
    is_free = not s.tables[(s.number + 1) % 3]
    is_shared = "the commit shares the lock" in rules and any(c and c.is_locked for c in s.commits)
    if is_due and is_free and not is_held and not is_shared and s.number < 5:
        yield f"generation {s.number + 1} begins", s._replace(number=s.number + 1, began=s.now)
    if s.emptying is None:
        if s.number > 1:
            yield "the cache reads which table to empty", s._replace(emptying=s.number)
        return
    older = 2 if "only the table before the previous one is emptied" in rules else 1
    yield "it empties the table", s._replace(emptying=None, tables=replaced(s.tables, (s.emptying - older) % 3, False))  # type: ignore[arg-type]


def shortest_way_to_pay_twice(rules: set[str]) -> list[str] | None:
    """The steps to two payments of one key within the time that it is kept."""
    first = State()
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        if len(state.paid) > 1:
            return list(way_to(state, came_from))[::-1]
        for step, following in successors(state, rules):
            if following not in came_from:
                came_from[following] = (state, step)
                waiting.append(following)
    return None


def way_to(state: State, came_from: dict[State, tuple[State, str] | None]) -> Iterator[str]:
    while (origin := came_from[state]) is not None:
        state, step = origin
        yield step


def test_a_key_pays_once_as_long_as_it_is_kept() -> None:
    assert shortest_way_to_pay_twice(PROTECTIONS) is None


@pytest.mark.parametrize("left_out", sorted(PROTECTIONS))
def test_without_any_of_the_rules_a_key_pays_twice(left_out: str) -> None:
    assert shortest_way_to_pay_twice(PROTECTIONS - {left_out})
