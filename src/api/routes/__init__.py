"""The routes, one file a resource, and the common code for reading requests and writing answers."""
