"""Who asks, what is refused, and how a refusal is told."""
