"""Bundles scored on datasets at the images' own sizes, alone and side by side; never torch."""
