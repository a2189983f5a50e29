"""The numbers of the advisory locks in Polka's database.

Two versions of Polka may run on one database, and migrations write numbers into functions. So no number ever changes.
"""

MIGRATION = 0x706F6C6B61
"""Held by `polka migrate`. Two processes that migrate at once would kill one of them."""

POLICY = 7_105_321_446_018_772_101
"""Commits share it. A change of the policy takes it alone, and so does the start of a generation of idempotency keys.
It queues fairly, which row locks do not."""

EPOCH = 7_105_321_446_018_772_102
"""Commits under a reservation share it, and a cache that raises the epoch takes it alone."""

RATES = int.from_bytes(b"rates")
"""Of two caches one fetches exchange rates."""
