"""The audit: the rules for a database, and the passes that prove the rules."""
