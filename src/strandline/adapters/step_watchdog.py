"""The end of a step that outlives its limit, together with the process it runs in."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step_watchdog(limit_seconds: float | None) -> Iterator[None]:
    """End this process when the body takes longer.

    The watchdog is in C: it also ends a step that never lets Python run.
    """
    if limit_seconds is None:
        yield
        return
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 – needs a descriptor
        faulthandler.dump_traceback_later(limit_seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
