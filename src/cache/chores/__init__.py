"""Jobs beside the ledger, which never touch it."""
