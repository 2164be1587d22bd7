"""Prune, distil, quantize: a model in, a new model out."""
