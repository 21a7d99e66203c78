"""What a decision to start a job rested on, until the job is started."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from strandline.spec.attempts import Attempt


class Decided:
    """The attempts that were seen last, for one object at a time and thread.

    The caches may catch up between a look and the start that it led to: what is there then
    would give the number after that of the attempt that was meant.
    """

    def __init__(self) -> None:
        self._seen = threading.local()

    def look(self, uid: str, attempts: Sequence[Attempt]) -> None:
        """Keep what is seen of an object's attempts."""
        self._seen.uid, self._seen.attempts = uid, attempts

    def take(self, uid: str) -> Sequence[Attempt] | None:
        """Return what was seen, once; None when nothing was."""
        if getattr(self._seen, "uid", None) != uid:
            return None
        self._seen.uid = None
        found: Sequence[Attempt] = self._seen.attempts
        return found
