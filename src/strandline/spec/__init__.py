"""The vocabulary: kinds, records, errors and settings. No I/O happens here.

Every other package speaks in these types; nothing here imports any of them.
"""
