"""Datasets: check, import, Arrow storage, augmentation, batches."""
