"""A progress bar with an ETA on stderr; sparse plain lines where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]
"""Called with (done, total); total 0 means not known yet."""

_PLAIN_INTERVAL_SECONDS = 10.0


@contextmanager
def progress_bar(title: str) -> Iterator[Advance]:
    """Show how far `title` is while the block runs."""
    if sys.stderr.isatty():
        with _live_bar(title) as advance:
            yield advance
    else:
        yield _plain_lines(title)


@contextmanager
def _live_bar(title: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _plain_lines(title: str) -> Advance:
    start = last = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PLAIN_INTERVAL_SECONDS:
            return
        last = now
        left = (now - start) / done * (total - done) if done and total else None
        eta = f", about {left:.0f} s left" if left is not None else ""
        print(f"{title}: {done}/{total or '?'}{eta}", file=sys.stderr)

    return advance
