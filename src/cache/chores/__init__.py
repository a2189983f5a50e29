"""Jobs beside the ledger. They never change the ledger."""
