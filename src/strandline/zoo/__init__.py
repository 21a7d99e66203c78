"""Architectures: one family per file, each exported to ONNX."""
