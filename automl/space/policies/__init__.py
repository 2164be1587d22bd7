"""Augmentation policies that an experiment declares, with values that may be searched."""
