"""Candidates as numbers, for algorithms that learn from distances.

A candidate becomes one row in each of up to three blocks: its parameters (one column per
category, or the place on the unit interval), what its structure tells (paths through a
cell), and what is known of it without training (sizes, zero-cost scores). Blocks are kept
apart because how far two candidates are from each other means something else in each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.search.space import Candidate, Categorical, Parameter, Space, candidate_key

Floats = NDArray[np.float64]
Blocks = tuple[Floats, ...]

_REFERENCE = 256
_LARGEST_CACHE = 20_000


class Encoder:
    """Encodes candidates of one space, scaled so that each block weighs alike.

    A block is divided so that two random candidates are at a mean squared distance of 1.

    Args:
        seed: of the random candidates that the scale is taken from.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._cache: dict[str, tuple[Floats, ...]] = {}
        rng = np.random.default_rng([seed, _REFERENCE])
        raw = [self._raw(space.sample(rng)) for _ in range(_REFERENCE)]
        blocks = [np.stack(rows) for rows in zip(*raw, strict=True)]
        self._kept = [place for place, block in enumerate(blocks) if block.var(0).sum() > 0]
        self._centres, self._scales = [], []
        for place in self._kept:
            scale = _scale_of(blocks[place], columns=place > 0)
            self._centres.append(blocks[place].mean(0))
            self._scales.append(scale)

    @property
    def width(self) -> int:
        """The number of blocks."""
        return len(self._kept)

    def encode(self, candidates: Sequence[Candidate]) -> Blocks:
        """Return one array [candidates, columns] per block."""
        rows = [self._row(candidate) for candidate in candidates]
        return tuple(np.stack(block) for block in zip(*rows, strict=True))

    def _row(self, candidate: Candidate) -> tuple[Floats, ...]:
        key = candidate_key(candidate)
        found = self._cache.get(key)
        if found is None:
            if len(self._cache) >= _LARGEST_CACHE:
                self._cache.clear()
            raw = self._raw(candidate)
            scaled = zip(self._kept, self._centres, self._scales, strict=True)
            found = tuple((raw[place] - centre) / scale for place, centre, scale in scaled)
            self._cache[key] = found
        return found

    def _raw(self, candidate: Candidate) -> tuple[Floats, ...]:
        columns = [_columns(parameter, candidate) for parameter in self._space.parameters]
        own = np.concatenate(columns) if columns else np.zeros(0)
        structure = self._space.structure
        if structure is None:
            return (own,)
        features = np.asarray(structure.features(candidate), np.float64)
        return own, features, np.asarray(structure.proxies(candidate), np.float64)


def _columns(parameter: Parameter, candidate: Candidate) -> Floats:
    """Return the parameter's columns; in the middle of them all when it is absent."""
    value = candidate.get(parameter.name)
    if isinstance(parameter, Categorical) and not parameter.ordered:
        columns = np.zeros(len(parameter.values))
        if value is not None:
            columns[parameter.place(value)] = 1.0
        return columns
    present = value is not None
    unit = parameter.to_unit(value) if value is not None else 0.5
    # A number spans as much as a category does: sqrt(2) from one end to the other.
    return np.array([unit * 2**0.5] + ([float(present)] if parameter.when is not None else []))


def _scale_of(block: Floats, columns: bool) -> Floats:
    """Return what to divide by: one number, or one a column where units differ."""
    spread = block.std(0)
    each = np.where(spread > 0, spread, 1.0) if columns else np.ones(block.shape[1])
    total = (block.var(0) / each**2).sum()
    return np.asarray(each * np.sqrt(2 * total))
