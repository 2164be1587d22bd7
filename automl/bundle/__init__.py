"""Bundles: written, read, verified and used; the only door to the serving runtime."""
