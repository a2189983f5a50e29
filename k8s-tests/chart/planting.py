"""Plants a fault in rendered objects, so that the check for it can be seen to find it."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from chart.objects import name
from chart.rendering import Rendered

GONE = object()
"""Stands for a value that is taken away."""
SHORT = {
    "pod": ("spec", "template", "spec"),
    "container": ("spec", "template", "spec", "containers", "0"),
}


class Fault(NamedTuple):
    """A place in an object, what is put there, and what the check must say of it."""

    object: str
    """As Deployment/polka-api; of a Job the hash in its name is left out."""
    path: str
    """With dots, and so without labels; it may begin with `pod` or `container` (the first)."""
    value: Any
    said: str


def planted(rendered: Rendered, fault: Fault) -> Rendered:
    """The rendering with the fault in it; it must be a copy."""
    [found] = [found for found in rendered.objects if name(found).startswith(fault.object)][:1]
    first, *rest = fault.path.split(".")
    place_in(found, [*SHORT.get(first, (first,)), *rest], fault.value)
    return rendered


def place_in(found: Any, path: list[str], value: Any) -> None:
    """Put a value there, or take it away with GONE."""
    *way, last = path
    place = found
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is GONE:
        del place[int(last) if isinstance(place, list) else last]
    elif isinstance(place, list):
        place[int(last) : int(last) + 1] = [value]
    else:
        place[last] = value


def assert_found(check: Callable[[Rendered], Iterator[str]], rendered: Rendered, fault: Fault) -> None:
    """The check says nothing of the kind before the fault is there, and then names it."""
    before = list(check(rendered.copy()))
    after = list(check(planted(rendered, fault)))
    assert not [said for said in before if fault.said in said], before
    assert [said for said in after if fault.said in said], after


def without(rendered: Rendered, gone: str) -> Rendered:
    """The rendering without an object."""
    kept = [found for found in rendered.objects if name(found) != gone]
    assert len(kept) == len(rendered.objects) - 1
    return Rendered(kept, rendered.values, rendered.kubernetes)
