"""The audit: what must hold in a database, and the passes that prove it."""
