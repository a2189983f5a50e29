"""Callers, refusals, and the answers of refusals."""
