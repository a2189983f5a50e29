"""What the services share: the rules of payments, the database's shape, and the command line."""

__version__ = "0.2.0"
