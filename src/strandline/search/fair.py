"""Draws in which every option has its turn.

Weights that candidates share learn more evenly when the candidates of one step differ in
every decision (Chu et al. 2021, "FairNAS", arXiv 1907.01845, algorithm 1).
"""

from __future__ import annotations

import numpy as np

from strandline.search.controller import options_of
from strandline.search.space import Candidate, Space


def turns(options: int, rng: np.random.Generator, count: int) -> list[int]:
    """Return so many places among the options: none again before all had their turn."""
    rounds = [rng.permutation(options) for _ in range(-(-count // options))]
    return [int(place) for place in np.concatenate(rounds)[:count]]


def draw_fairly(space: Space, rng: np.random.Generator, count: int) -> list[Candidate]:
    """Draw candidates, as far as constraints allow no option of a decision twice before all."""
    columns = {}
    for parameter in space.parameters:
        options = options_of(parameter)
        columns[parameter.name] = [options[at] for at in turns(len(options), rng, count)]
    drawn: list[Candidate] = []
    for row in range(count):
        candidate = space.walk(lambda parameter, row=row: columns[parameter.name][row])  # type: ignore[misc]  # bound early
        drawn.append(candidate if space.feasible(candidate) else space.sample(rng))
    return drawn
