"""How long the tests wait."""

WAIT_SECONDS = 120.0
"""The bound on every wait for a condition. It is there for a process that is dead, so it fits the slowest machine."""
