"""The numbers of the advisory locks in Polka's database.

The numbers never change, because two versions of Polka may run on one database, and migrations write the numbers into
functions.
"""

MIGRATION = 0x706F6C6B61
"""Held by `polka migrate`. Without the lock, one of two concurrent migrations would fail."""

POLICY = 7_105_321_446_018_772_101
"""Commits share this lock. A change of the policy takes the lock exclusively. The start of a generation of idempotency
keys does too. Advisory locks queue fairly; row locks do not."""

EPOCH = 7_105_321_446_018_772_102
"""Commits under a reservation share this lock. A cache that raises the epoch takes the lock exclusively."""

RATES = int.from_bytes(b"rates")
"""Only one of several caches fetches exchange rates."""
