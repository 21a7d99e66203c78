"""Ctrl-C, said once, stops cleanly; said twice, stops at once."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from strandline.cli.where import where


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether the user (or a supervisor) asked to stop.

    SIGINT and SIGTERM set it; a second SIGINT raises KeyboardInterrupt as usual, so a
    person is never trapped behind a slow step. The old handlers come back afterwards.
    """
    asked = False
    said = "Stopping after the running step; Ctrl-C again stops at once."
    if where().cluster:
        said = "Looking no longer; what runs on the cluster goes on."

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        print(f"\n{said}", file=sys.stderr)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
