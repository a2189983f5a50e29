"""The public service: stateless. It accepts payments, commits them in groups, and reports batches to the cache."""
