"""The database code that services share: sessions, and SQL for more than one service."""
