"""The barrier: a query returns its result only after a failover can no longer lose the result.

While a synchronous standby is cut off, a server may show a row that the standby lacks: after a crash, or after the wait
of the row's commit was cancelled or its session ended. The query's own commit then waits. Its record in the write-ahead
log follows the records of all visible rows, and the standby receives records in this order.
"""


def after(query: str) -> str:
    """The query with its own record in the write-ahead log, if the query finds rows.

    The commit must return without the warning of a cancelled wait. `database.bounded` checks this.
    """
    return f"""
    WITH found AS MATERIALIZED ({query})
    SELECT found.*, pg_logical_emit_message(true, 'polka', 'found') AS barrier FROM found
    """
