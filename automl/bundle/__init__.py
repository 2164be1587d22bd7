"""Bundles: written, read, verified and used; the door to the serving runtimes.

`compression` alone opens ONNX Runtime as well.
"""
