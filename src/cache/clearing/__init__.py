"""Clearing windows: closing, settling, netting, and their schedule."""
