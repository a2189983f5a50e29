"""The routes, one file a resource, and how they read requests and write answers."""
