"""Waiting for what other threads and processes do."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_SECONDS = 60.0


def until(holds: Callable[[], object], seconds: float = _LONGEST_SECONDS) -> None:
    """Wait until `holds`; fail when it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.02)
