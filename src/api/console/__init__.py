"""The console: its pages, and its feed."""
