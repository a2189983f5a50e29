"""The schema's history. Migrations only expand, because older Polkas must run on newer schemas."""

REVISION = "0017"
"""The revision for this Polka. Later revisions are fine."""
