"""When a job that ended badly may start again, and when it is given up.

The figures are those of Kubernetes' Job controller: ten seconds, doubled each time, five
minutes at most, six times; a job that ran for ten minutes starts counting anew, because a
search that is killed once a day is not a search that keeps crashing.
"""

from __future__ import annotations

import signal

from strandline.spec.errors import (
    OUTCOMES,
    BudgetExhaustedError,
    CorruptArtifactError,
    FailedRunError,
    InvalidSpecError,
    MissingExtraError,
    UnusableDataError,
)

FIRST_DELAY_SECONDS = 10.0
LONGEST_DELAY_SECONDS = 300.0
MAX_FAILURES = 6

# Trying again cannot help until a person changes something.
_PERMANENT = {
    OUTCOMES[cls].exit_code: OUTCOMES[cls].reason
    for cls in (
        InvalidSpecError,
        UnusableDataError,
        CorruptArtifactError,
        MissingExtraError,
        BudgetExhaustedError,
        FailedRunError,
    )
} | {2: "UsageError"}


def delay_seconds(failures: int) -> float:
    """Return how long to wait after the `failures`-th bad end in a row (1, 2 …)."""
    doublings = min(max(failures, 1) - 1, 32)
    return min(FIRST_DELAY_SECONDS * float(2**doublings), LONGEST_DELAY_SECONDS)


def permanent_reason(exit_code: int | None) -> str | None:
    """Return the condition reason of an exit that no retry mends, None of any other."""
    return None if exit_code is None else _PERMANENT.get(exit_code)


def describe_exit(exit_code: int | None) -> str:
    """Say in words how a job ended."""
    if exit_code is None:
        return "it ended while nobody watched"
    number = -exit_code if exit_code < 0 else exit_code - 128
    if exit_code < 0 or exit_code > 128:
        try:
            name = signal.Signals(number).name
        except ValueError:
            return f"it ended with exit code {exit_code}"
        hint = " (often: out of memory)" if name == "SIGKILL" else ""
        return f"it was ended by {name}{hint}"
    return f"it ended with exit code {exit_code}"
