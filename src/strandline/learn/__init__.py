"""Heads, cross-validated trials, calibration, evaluation and reports."""
