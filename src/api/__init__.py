"""The public service: stateless, takes payments, commits them in groups, tells the cache."""
