"""What the services share of the database: sessions, and the SQL that more than one of them needs."""
