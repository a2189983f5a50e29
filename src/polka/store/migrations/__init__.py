"""The schema's history. Migrations only expand, because older Polkas must run on newer schemas."""

REVISION = "0017"
"""The revision that this Polka needs. Later revisions are fine."""
