"""The ledger in memory, and how it is written to the database."""
