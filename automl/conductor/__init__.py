"""Decides what a search does next; where it runs is a backend's business."""
