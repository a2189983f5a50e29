"""The longest wait of the tests."""

WAIT_SECONDS = 120.0
"""The bound on every wait for a condition. It only matters for dead processes, and therefore fits the slowest
machine."""
