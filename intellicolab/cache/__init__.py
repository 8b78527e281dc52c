"""Caching strategies over the cache role of Redis."""
