"""The ledger in memory, and its writes to the database."""
