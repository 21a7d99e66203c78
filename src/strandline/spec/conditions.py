"""Conditions: the state of an object in a form that people and programs both can wait on.

`kubectl wait`, Argo CD and Flux judge an object by its conditions (kstatus): `Ready` is
True when the spec is fulfilled, `Reconciling` stands there only while something is being
done or awaited, `Stalled` only when nothing further will happen by itself. Searches carry
`Complete`, `Failed` and `Suspended` besides, as Jobs do. A status is plain data (the
`status` of a document); every function here returns a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
COMPLETE = "Complete"
FAILED = "Failed"
SUSPENDED = "Suspended"

INTERRUPTED = "Interrupted"
"""Reason of a Suspended condition that a person caused with Ctrl-C: only they undo it."""

TAKEN_UP = "SpecTakenUp"
"""Reason of a Reconciling condition: the job that runs goes by the edited spec already."""

WAITING_FOR_WORKERS = "WaitingForWorkers"
"""Reason of a Reconciling condition: the job runs, and too few workers of its are there."""

Status = dict[str, Any]

_MAX_MESSAGE = 4096


@dataclass(frozen=True, slots=True)
class Why:
    """The reason of a change of state.

    Attributes:
        reason: one CamelCase word for programs.
        message: a sentence for people.
        generation: `metadata.generation` of the spec that was acted upon.
        at: timezone-aware time of the change.
    """

    reason: str
    message: str
    generation: int
    at: datetime

    def because(self, reason: str, message: str) -> Why:
        """Return the same moment with another reason."""
        return replace(self, reason=reason, message=message)


def get_condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """Return the condition of this type, None when the status has none."""
    for condition in status.get("conditions", ()):
        if condition["type"] == type_:
            found: Mapping[str, Any] = condition
            return found
    return None


def is_true(status: Mapping[str, Any], type_: str, generation: int | None = None) -> bool:
    """Return whether the condition is True, and about `generation` when that is given."""
    condition = get_condition(status, type_)
    if condition is None or condition["status"] != "True":
        return False
    return generation is None or condition.get("observedGeneration") == generation


def set_condition(status: Mapping[str, Any], type_: str, value: bool | None, why: Why) -> Status:
    """Return `status` with the condition set; None means Unknown.

    `lastTransitionTime` stays when the value stays, as metav1 asks.
    """
    text = "Unknown" if value is None else str(value)
    before = get_condition(status, type_)
    kept = before is not None and before["status"] == text
    condition = {
        "type": type_,
        "status": text,
        "observedGeneration": why.generation,
        "lastTransitionTime": before["lastTransitionTime"] if before and kept else _stamp(why.at),
        "reason": why.reason,
        "message": why.message[:_MAX_MESSAGE],
    }
    conditions = [dict(each) for each in status.get("conditions", ())]
    places = {each["type"]: place for place, each in enumerate(conditions)}
    if type_ in places:
        conditions[places[type_]] = condition
    else:
        conditions.append(condition)
    return {**status, "observedGeneration": why.generation, "conditions": conditions}


def drop_conditions(status: Mapping[str, Any], types: Iterable[str]) -> Status:
    """Return `status` without the conditions of these types."""
    gone = set(types)
    kept = [dict(each) for each in status.get("conditions", ()) if each["type"] not in gone]
    return {**status, "conditions": kept}


def mark_working(status: Mapping[str, Any], why: Why) -> Status:
    """Return the status of an object that is being worked on, or waits (the reason tells)."""
    made = set_condition(status, READY, False, why)
    made = set_condition(made, RECONCILING, True, why)
    return drop_conditions(made, (STALLED, COMPLETE, FAILED, SUSPENDED))


def mark_done(status: Mapping[str, Any], why: Why) -> Status:
    """Return the status of an object whose spec is fulfilled."""
    made = set_condition(status, READY, True, why)
    made = set_condition(made, COMPLETE, True, why)
    return drop_conditions(made, (RECONCILING, STALLED, FAILED, SUSPENDED))


def mark_failed(status: Mapping[str, Any], why: Why) -> Status:
    """Return the status of an object that cannot get further without a person."""
    made = set_condition(status, READY, False, why)
    made = set_condition(made, STALLED, True, why)
    made = set_condition(made, FAILED, True, why)
    return drop_conditions(made, (RECONCILING, COMPLETE, SUSPENDED))


def mark_unserved(status: Mapping[str, Any], why: Why) -> Status:
    """Return the status of an object that nobody works on, though nothing about it failed."""
    made = set_condition(status, READY, False, why)
    made = set_condition(made, STALLED, True, why)
    return drop_conditions(made, (RECONCILING, COMPLETE, FAILED, SUSPENDED))


def mark_suspended(status: Mapping[str, Any], why: Why) -> Status:
    """Return the status of an object that a person holds; its state is kept."""
    made = set_condition(status, READY, False, why)
    made = set_condition(made, SUSPENDED, True, why)
    return drop_conditions(made, (RECONCILING, STALLED, COMPLETE, FAILED))


def is_taken_up(status: Mapping[str, Any], generation: int) -> bool:
    """Return whether the job that runs took up the edit that made this generation."""
    condition = get_condition(status, RECONCILING)
    return (
        condition is not None
        and condition["reason"] == TAKEN_UP
        and is_true(status, RECONCILING, generation)
    )


def is_settled(status: Mapping[str, Any], generation: int) -> bool:
    """Return whether nothing is left to do for this generation: done, or failed for good."""
    return any(is_true(status, each, generation) for each in (READY, STALLED))


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
