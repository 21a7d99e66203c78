"""Strandline: from a folder of images to a trustworthy prediction."""

__version__ = "0.1.0"
