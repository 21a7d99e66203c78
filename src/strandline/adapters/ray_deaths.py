"""Why a worker's process ended, told from what Ray says of it."""

from __future__ import annotations

from collections.abc import Sequence

from strandline.adapters.failures import too_late
from strandline.spec.records import Failure, FailureKind

_NODE_DEATHS = ("its node has died", "node was terminated", "node was preempted")
# The connection broke and nothing is known of the worker's end: mostly the node went, which
# Ray finds out much later.
_LOST_TOUCH = ("is temporarily unavailable", "is unavailable")
LOST = Failure(kind=FailureKind.LOST, message="the worker's node went away")


def failure_of_death(message: str, late: bool, timeout: float | None) -> Failure:
    """Return the failure of a step whose worker died.

    Args:
        message: Ray's.
        late: it died when the step had taken as long as it may (`timeout`, in seconds).
    """
    if _names(message, _NODE_DEATHS):
        return LOST
    if late and timeout is not None:
        return too_late(timeout)
    if _names(message, _LOST_TOUCH):
        return LOST
    if "OutOfMemory" in message or "memory pressure" in message:
        return Failure(
            kind=FailureKind.OUT_OF_MEMORY,
            message="the node ran out of memory and the worker was ended",
        )
    return Failure(
        kind=FailureKind.CRASH, message="the worker process died (killed, or a crash in a library)"
    )


def _names(message: str, words: Sequence[str]) -> bool:
    return any(each in message for each in words)
