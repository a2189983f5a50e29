"""The console: its pages, and what they are fed with."""
