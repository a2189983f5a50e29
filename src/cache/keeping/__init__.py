"""The keeper of the ledger, and its state."""
