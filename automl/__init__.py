"""AutoML and NAS for image segmentation: from images and masks to a small, verified model."""

__version__ = "0.1.0"
