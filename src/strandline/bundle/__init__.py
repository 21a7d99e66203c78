"""The self-contained model file: its format, its checks and its runtime."""
