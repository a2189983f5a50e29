"""The routes for the apis."""
