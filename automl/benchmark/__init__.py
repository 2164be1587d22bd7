"""Bundles timed side by side, here or on the device that will serve them."""
