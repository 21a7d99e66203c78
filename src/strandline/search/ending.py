"""Why a search ends."""

from __future__ import annotations

import math
from enum import StrEnum

from strandline.search.ledger import Ledger
from strandline.spec.records import TrialState
from strandline.spec.v1alpha1 import Goal, SearchSpec


class EndReason(StrEnum):
    """Why a search ended; EDITED: only to go on at once by its new spec."""

    TRIALS = "TrialBudgetSpent"
    TIME = "TimeBudgetSpent"
    DEVICE_HOURS = "DeviceHoursSpent"
    GOAL = "GoalReached"
    PLATEAU = "PlateauReached"
    EXHAUSTED = "SpaceExhausted"
    NOTHING_FITS = "NothingFitsInTime"
    FAILURES = "TooManyFailures"
    STOPPED = "Stopped"
    SUSPENDED = "Suspended"
    EDITED = "SpecChanged"


def reason_to_end(
    spec: SearchSpec, ledger: Ledger, failures_in_a_row: int, devices: float
) -> EndReason | None:
    """Return the reason that holds now; the budgets in trials and time are not looked at.

    Args:
        devices: devices that one trial occupies.
    """
    if failures_in_a_row > spec.max_failed_trials:
        return EndReason.FAILURES
    if _goal_reached(spec, ledger):
        return EndReason.GOAL
    if ledger.ended_since_best >= (spec.stop.plateau_trials or math.inf):
        return EndReason.PLATEAU
    if ledger.seconds * devices / 3600 >= (spec.budget.device_hours or math.inf):
        return EndReason.DEVICE_HOURS
    return None


def _goal_reached(spec: SearchSpec, ledger: Ledger) -> bool:
    goal, best = spec.stop.goal, ledger.best()
    if goal is None or best is None or best.state is not TrialState.COMPLETED:
        return False
    worth = ledger.worth(best.metrics)
    wanted = goal if spec.objectives[0].goal is Goal.MAXIMIZE else -goal
    return worth is not None and worth.excess == 0 and worth.values[0] >= wanted
