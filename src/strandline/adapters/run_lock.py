"""One runner per object: a lock that dies with whoever runs, whatever kills them.

The agent, a foreground `strandline train` and a test may all want to run the same search.
A process id in a file cannot tell (ids are reused); an `flock` can: the kernel drops it
with the last process that holds the open file. An agent opens the file, locks it and
hands the descriptor to the job it starts, so the lock stands for the job and its children,
also after the agent died. POSIX only, like the agent.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from strandline.spec.errors import ConflictError

INHERITED_FD = "STRANDLINE_RUN_LOCK_FD"
"""Environment variable: number of the descriptor through which a job holds its lock."""

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.05


def try_lock(path: Path) -> int | None:
    """Return the descriptor of the lock file, locked; None when somebody holds it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(path: Path) -> bool:
    """Return whether some process holds the lock now."""
    if not path.exists():
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def hold(path: Path, what: str, environ: Mapping[str, str] | None = None) -> Iterator[bool]:
    """Hold the lock while the body runs; a job that inherited it holds it already.

    Yields whether it was inherited.

    Raises:
        ConflictError: somebody else runs `what` now.
    """
    if _is_inherited(path, os.environ if environ is None else environ):
        yield True
        return
    descriptor = _insist(path)
    if descriptor is None:
        raise ConflictError(
            f"{what} is being run by another process: follow it with `strandline logs {what} -f`"
        )
    try:
        yield False
    finally:
        os.close(descriptor)


def _insist(path: Path) -> int | None:
    """Lock, or be refused for a second: a process that only looks holds it an instant."""
    for _ in range(_ATTEMPTS):
        descriptor = try_lock(path)
        if descriptor is not None:
            return descriptor
        time.sleep(_PAUSE_SECONDS)
    return None


def _is_inherited(path: Path, environ: Mapping[str, str]) -> bool:
    number = environ.get(INHERITED_FD, "")
    if not number.isdigit():
        return False
    try:
        ours, theirs = os.fstat(int(number)), path.stat()
    except OSError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)
