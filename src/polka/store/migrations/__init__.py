"""The schema's history. Migrations only expand, so that an older Polka still runs on a newer schema."""

REVISION = "0017"
"""The revision that this Polka needs. Later revisions are fine."""
