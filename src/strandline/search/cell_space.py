"""Architecture spaces as search spaces: the decisions of a cell, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.cells.family import Family, Plan
from strandline.cells.registry import family
from strandline.search.space import Candidate, Categorical, Parameter, Space


def cell_space(name: str, plan: Plan, more: tuple[Parameter, ...] = ()) -> Space:
    """Return the space of the architectures of a family, built to a plan.

    Args:
        more: parameters that are searched along, such as a learning rate.

    Raises:
        InvalidSpecError: no such family.
    """
    kind = family(name)
    choices = tuple(Categorical(choice.name, choice.values) for choice in kind.choices)
    names = frozenset(choice.name for choice in kind.choices)
    return Space((*choices, *more), structure=CellStructure(kind, plan, names))


@dataclass(frozen=True, slots=True)
class CellStructure:
    """`search.space.Structure` of a family's candidates.

    Attributes:
        names: of the parameters that are decisions of the cell.
    """

    kind: Family
    plan: Plan
    names: frozenset[str]

    def canonical(self, candidate: Candidate) -> str:
        """Return a text that isomorphic cells share, along with the other parameters."""
        cell, rest = self._split(candidate)
        others = ",".join(f"{name}={value!r}" for name, value in sorted(rest.items()))
        return f"{self.kind.canonical(cell)};{others}"

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return the family's features of the cell."""
        return self.kind.features(self._split(candidate)[0])

    def proxies(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return log parameters and log multiply-adds of the built network."""
        counts = self.kind.count(self._split(candidate)[0], self.plan)
        return np.log1p(np.array([counts.parameters, counts.multiply_adds], np.float32))

    def _split(self, candidate: Candidate) -> tuple[Candidate, Candidate]:
        """Return the cell's decisions and the other parameters."""
        if len(candidate) == len(self.names):
            return candidate, {}
        cell = {name: value for name, value in candidate.items() if name in self.names}
        return cell, {name: value for name, value in candidate.items() if name not in cell}
