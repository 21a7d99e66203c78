"""Every error a person or program can meet, and what each one means to the outside.

A library error becomes a gRPC status, an HTTP status, an exit code or a condition
reason at some edge. Deciding that at each edge lets them drift apart, so the one
table below decides it for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strandline.spec.records import ImportReport


class StrandlineError(Exception):
    """Base of all errors raised on purpose: the message says what to do about it."""


class InvalidSpecError(StrandlineError):
    """A document, option or value breaks a rule of its schema."""


class NotFoundError(StrandlineError):
    """The named thing does not exist."""


class AlreadyExistsError(StrandlineError):
    """A create-only write found something there already."""


class ConflictError(StrandlineError):
    """Somebody else changed the thing since it was read: read again, then retry."""


class PermissionDeniedError(StrandlineError):
    """Whoever asks may not do that: somebody has to grant the right first."""


class UnusableDataError(StrandlineError):
    """Data from outside cannot be used: no images, too few labels, nothing decodable."""


class EmptyImportError(UnusableDataError):
    """Not one image could be imported; `report` holds the reason of each."""

    def __init__(self, message: str, report: ImportReport) -> None:
        super().__init__(message)
        self.report = report


class CorruptArtifactError(StrandlineError):
    """A stored object, bundle or checkpoint does not match its digest or format."""


class MissingExtraError(StrandlineError):
    """An optional dependency is not installed: the message names the extra to install."""


class UnavailableError(StrandlineError):
    """A store, database or runtime does not answer now: trying later may help."""


class BudgetExhaustedError(StrandlineError):
    """The budget ended before any candidate could be scored."""


class InterruptedRunError(StrandlineError):
    """The user stopped the run: its state is saved and the message says how to resume."""


class FailedRunError(StrandlineError):
    """A search, training or import ended without a usable result."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one error class means at each edge.

    Attributes:
        exit_code: process exit status of the command line.
        http: HTTP status code.
        grpc: name of the `grpc.StatusCode` member.
        reason: `reason` of a Kubernetes condition, CamelCase.
    """

    exit_code: int
    http: int
    grpc: str
    reason: str


# Exit codes 1 (unexpected) and 2 (usage, click's own) are kept free; 130 is the shell's
# convention for a run ended by Ctrl-C.
OUTCOMES: dict[type[StrandlineError], Outcome] = {
    InvalidSpecError: Outcome(3, 400, "INVALID_ARGUMENT", "InvalidSpec"),
    NotFoundError: Outcome(4, 404, "NOT_FOUND", "NotFound"),
    AlreadyExistsError: Outcome(5, 409, "ALREADY_EXISTS", "AlreadyExists"),
    ConflictError: Outcome(6, 409, "ABORTED", "Conflict"),
    UnusableDataError: Outcome(7, 422, "FAILED_PRECONDITION", "UnusableData"),
    CorruptArtifactError: Outcome(8, 422, "DATA_LOSS", "CorruptArtifact"),
    MissingExtraError: Outcome(9, 501, "UNIMPLEMENTED", "MissingExtra"),
    UnavailableError: Outcome(10, 503, "UNAVAILABLE", "Unavailable"),
    BudgetExhaustedError: Outcome(11, 409, "RESOURCE_EXHAUSTED", "BudgetExhausted"),
    FailedRunError: Outcome(12, 500, "INTERNAL", "FailedRun"),
    PermissionDeniedError: Outcome(13, 403, "PERMISSION_DENIED", "Forbidden"),
    InterruptedRunError: Outcome(130, 499, "CANCELLED", "Interrupted"),
    StrandlineError: Outcome(1, 500, "UNKNOWN", "Error"),
}


def outcome_of(error: BaseException) -> Outcome:
    """Return the outcome of the nearest listed class of `error`."""
    for cls in type(error).__mro__:
        if cls in OUTCOMES:
            return OUTCOMES[cls]
    return OUTCOMES[StrandlineError]
