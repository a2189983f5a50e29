"""The singleton that keeps the bank ledger in memory and posts what was committed."""
