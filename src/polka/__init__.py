"""Shared code of the services: the rules of payments, the schema of the database, and the command line."""

__version__ = "0.2.0"
