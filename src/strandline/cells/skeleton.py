"""How cells are stacked: N normal cells in each of three stages, reduction cells between.

NASNet (arXiv 1707.07012, figure 2) and DARTS (arXiv 1806.09055) share this: every cell
reads the outputs of the two cells before it, and a reduction cell halves the size and
doubles the filters.
"""

from __future__ import annotations

from dataclasses import dataclass

from strandline.cells.family import Plan

STAGES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A cell's place in the stack.

    Attributes:
        number: from 0, of all cells including those of the stem.
        filters: F of its operations.
    """

    number: int
    reduction: bool
    filters: int


def body(plan: Plan, first: int = 0) -> list[Place]:
    """Return the places of the three stages, numbered from `first`."""
    places: list[Place] = []
    for stage in range(STAGES):
        filters = plan.filters * 2**stage
        kinds = [True] * (stage > 0) + [False] * plan.cells
        for reduction in kinds:
            places.append(Place(first + len(places), reduction, filters))
    return places


def drop_rate(plan: Plan, place: Place, cells: int) -> float:
    """Return the probability with which ScheduledDropPath drops at the end of training.

    It grows linearly from the first cell to the last (arXiv 1707.07012, appendix A.2).
    """
    return plan.drop_path * (place.number + 1) / cells
