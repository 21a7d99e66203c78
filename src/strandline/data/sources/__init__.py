"""Readers of labeled images, one layout per file; `registry` finds the right one."""
