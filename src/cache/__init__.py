"""The singleton that keeps the bank ledger in memory and posts committed batches."""
