"""Polka on one machine: its processes, its own Postgres, the demo, and drills."""
