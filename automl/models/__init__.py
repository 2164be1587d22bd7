"""Networks: the only importer of timm and segmentation_models_pytorch."""
