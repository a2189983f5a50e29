"""Clearing windows: closing, settling, netting, and when they are due."""
