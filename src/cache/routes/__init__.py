"""What the apis ask the cache."""
