"""Why a step failed, told from the exception it raised: the same for every runner."""

from __future__ import annotations

from strandline.spec.records import Failure, FailureKind

_LONGEST_MESSAGE = 500


def classify(error: BaseException) -> Failure:
    """Return the failure that `error` stands for, with the last line of what it said."""
    text = (str(error).strip().splitlines() or [""])[-1]
    message = f"{type(error).__name__}: {text}"[:_LONGEST_MESSAGE]
    # By name, so that torch's own class is known without importing torch.
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"} or "out of memory" in text.lower():
        return Failure(kind=FailureKind.OUT_OF_MEMORY, message=message)
    return Failure(kind=FailureKind.ERROR, message=message)


def too_late(limit_seconds: float) -> Failure:
    """Return the failure of a step that outlived its limit."""
    message = f"the step took longer than {limit_seconds:g} s"
    return Failure(kind=FailureKind.TIMEOUT, message=message)
