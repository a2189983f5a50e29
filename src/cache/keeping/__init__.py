"""The keeper of the ledger, and what it keeps."""
