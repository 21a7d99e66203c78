"""What a trial's metrics are worth, given the objectives of the Search.

Values are turned so that more is better. A limit is a cap as in Vertex AI's and MnasNet's
rewards (Tan et al. 2019): a trial within it is worth its first objective, one beyond it
less, in proportion to how far beyond it is; and it is not chosen while another one keeps to
all limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import Goal, Objective


@dataclass(frozen=True, slots=True)
class Worth:
    """What a trial is worth.

    Attributes:
        value: of the first objective, less what its excess costs.
        values: of all objectives, uncut.
        excess: how far beyond the limits, each as a share of it, summed; 0 within.
    """

    value: float
    values: tuple[float, ...]
    excess: float

    @property
    def rank(self) -> tuple[bool, float]:
        """The order of trials: those within the limits first, then by value."""
        return (self.excess == 0, self.value)


def worth_of(metrics: Mapping[str, float], objectives: Sequence[Objective]) -> Worth | None:
    """Return what the metrics are worth, None when the first objective is not among them.

    Raises:
        InvalidSpecError: they hold the first objective, but not another one.
    """
    if objectives[0].metric not in metrics:
        return None
    for objective in objectives[1:]:
        if objective.metric not in metrics:
            names = ", ".join(sorted(metrics))
            raise InvalidSpecError(
                f"trials report no {objective.metric!r}: the objectives must be among {names}"
            )
    values = tuple(_turned(metrics[each.metric], each) for each in objectives)
    excess = sum(_beyond(metrics[each.metric], each) for each in objectives)
    return Worth(values[0] - excess * abs(values[0]), values, excess)


def _turned(value: float, objective: Objective) -> float:
    return value if objective.goal is Goal.MAXIMIZE else -value


def _beyond(value: float, objective: Objective) -> float:
    if objective.limit is None:
        return 0.0
    apart = _turned(objective.limit, objective) - _turned(value, objective)
    return max(0.0, apart) / (abs(objective.limit) or 1.0)
