"""The barrier: what a query has found is given only once a failover cannot lose it any more.

While a synchronous standby is cut off, a server may show a row that the standby lacks: after a crash, or once the wait
of the row's commit was cancelled or its session ended. The query's own commit then waits: its record in the
write-ahead log comes after the records of all that the query saw, and the standby gets them in this order.
"""


def after(query: str) -> str:
    """The query with a record of its own in the write-ahead log, if it finds anything.

    The commit must return without the warning of a cancelled wait, as `database.bounded` sees to.
    """
    return f"""
    WITH found AS MATERIALIZED ({query})
    SELECT found.*, pg_logical_emit_message(true, 'polka', 'found') AS barrier FROM found
    """
