"""The layout of a study's folder, and writes that survive a kill."""
