"""Candidates as points of the unit cube, many at a time, for searchers that move points.

A point says a number for every parameter, also for those that its conditions leave out;
`columns` writes down what counts of it: numbers where they are, rounded as the candidate's
will be; one column a category; and whether a conditional parameter exists at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.search.encoding import Floats
from strandline.search.parameters import Parameter
from strandline.search.space import Candidate, Categorical, Space
from strandline.spec.records import Scalar

# Numbers with more values than that are taken for continuous.
_LONGEST_LIST = 64

Mask = NDArray[np.bool_]


class UnitCube:
    """The points of a space.

    Attributes:
        groups: of each column, the number of the parameter it tells of.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._parameters = space.parameters
        self._listed = {p.name: _listed(p) for p in space.parameters}
        widths = [self._width(parameter) for parameter in space.parameters]
        self._starts = np.cumsum([0, *widths]).tolist()
        self.groups = np.repeat(np.arange(len(widths)), widths)

    def candidate(self, point: Floats) -> dict[str, Scalar]:
        """Return what a point [parameters] stands for."""
        units = dict(zip((p.name for p in self._parameters), point.tolist(), strict=True))

        def choose(parameter: Parameter) -> Scalar:
            return parameter.from_unit(float(units[parameter.name]))

        return self._space.walk(choose)

    def points(self, candidates: Sequence[Candidate]) -> Floats:
        """Return a point of each candidate, [candidates, parameters]."""
        return np.array(
            [
                [p.to_unit(each[p.name]) if p.name in each else 0.5 for p in self._parameters]
                for each in candidates
            ]
        ).reshape(len(candidates), len(self._parameters))

    def columns(self, points: Floats) -> Floats:
        """Return [points, columns]: two that differ in one respect are at a distance of 1."""
        active: dict[str, Mask] = {}
        filled = np.zeros((len(points), len(self.groups)))
        for number, parameter in enumerate(self._parameters):
            here = active[parameter.name] = self._active(parameter, points, active)
            own = filled[:, self._starts[number] : self._starts[number + 1]]
            self._fill(own, parameter, points[:, number], here)
        return filled

    def _width(self, parameter: Parameter) -> int:
        if isinstance(parameter, Categorical) and not parameter.ordered:
            return len(parameter.values)
        return 1 + (parameter.when is not None)

    def _fill(self, own: Floats, parameter: Parameter, units: Floats, active: Mask) -> None:
        """Write a parameter's columns [points, its columns]."""
        if isinstance(parameter, Categorical) and not parameter.ordered:
            codes = _places(units, len(parameter.values))
            own[np.arange(len(units)), codes] = active / 2**0.5
            return
        values, listed = units, self._listed[parameter.name]
        if listed is not None:
            grid = np.array([parameter.to_unit(each) for each in listed])
            near = np.abs(units[:, None] - grid).argmin(1)
            values = grid[near if _is_log(parameter) else _places(units, len(listed))]
        own[:, 0] = np.where(active, values, 0.5)
        if parameter.when is not None:
            own[:, 1] = active

    def _active(self, parameter: Parameter, points: Floats, active: Mapping[str, Mask]) -> Mask:
        """Return of which points the parameter exists."""
        condition = parameter.when
        if condition is None:
            return np.ones(len(points), bool)
        place = next(
            n for n, each in enumerate(self._parameters) if each.name == condition.parameter
        )
        parent, units = self._parameters[place], points[:, place]
        if isinstance(parent, Categorical):
            allowed = np.array([value in condition.values for value in parent.values])
            holds = allowed[_places(units, len(allowed))]
        else:
            values = [parent.from_unit(unit) for unit in units.tolist()]
            holds = np.array([value in condition.values for value in values], bool)
        return np.asarray(holds & active[parent.name])


def _listed(parameter: Parameter) -> tuple[Scalar, ...] | None:
    """Return the values, few enough to be looked through for each point."""
    listed = parameter.listed()
    return listed if listed is not None and len(listed) <= _LONGEST_LIST else None


def _is_log(parameter: Parameter) -> bool:
    return not isinstance(parameter, Categorical) and parameter.log


def _places(units: Floats, count: int) -> NDArray[np.int64]:
    return np.minimum(count - 1, (units * count).astype(np.int64))
