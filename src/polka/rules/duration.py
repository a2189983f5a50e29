"""Durations in Go's syntax, as `?timeout=250ms` takes them."""

import re

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
TEXT_MAX = 32
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
PATTERN = f"^({_PART.pattern})+$"
"""Of a whole duration, for JSON Schema."""


def seconds(text: str) -> float | None:
    """`1.5s`, `250ms`, `1m30s` in seconds; None for anything else (Go's time.ParseDuration, without a sign)."""
    if not text or len(text) > TEXT_MAX or _PART.sub("", text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def read(text: str) -> float:
    """The same, of a text that must be a duration.

    Raises:
        ValueError: the text is no duration.
    """
    found = seconds(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration such as 30s, 5m or 1m30s.")
    return found
