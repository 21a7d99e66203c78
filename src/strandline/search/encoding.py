"""Candidates as numbers, for algorithms that learn from distances.

A candidate becomes one row in each of up to three blocks: its parameters (one column per
category, or the place on the unit interval), what its structure tells (paths through a
cell), and what is known of it without training (sizes, zero-cost scores). Blocks are kept
apart because how far two candidates are from each other means something else in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from strandline.search.space import Candidate, Categorical, Parameter, Space

Floats = NDArray[np.float64]
Blocks = tuple[Floats, ...]

_REFERENCE = 256
# Rows are kept, for parents and their mutations come again: so many bytes of them, and at
# least so many rows.
_CACHE_BYTES, _SMALLEST_CACHE = 32 * 2**20, 2000
_ABSENT = object()

Key = tuple[object, ...]


class Encoder:
    """Encodes candidates of one space, scaled so that each block weighs alike.

    A block is divided so that two random candidates are at a mean squared distance of 1.

    Args:
        seed: of the random candidates that the scale is taken from.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._names = [parameter.name for parameter in space.parameters]
        always = all(parameter.when is None for parameter in space.parameters)
        self._values_of = itemgetter(*self._names) if always and len(self._names) > 1 else None
        self._ambiguous = not all(map(_has_distinct_values, space.parameters))
        self._own = _OwnColumns(space.parameters)
        self._cache: dict[Key, Floats] = {}
        rng = np.random.default_rng([seed, _REFERENCE])
        blocks = self._raw([space.sample(rng) for _ in range(_REFERENCE)])
        self._kept = [place for place, block in enumerate(blocks) if block.var(0).sum() > 0]
        kept = [np.zeros((_REFERENCE, 0)), *(blocks[place] for place in self._kept)]
        ends = np.cumsum([block.shape[1] for block in kept]).tolist()
        self._spans = [slice(start, end) for start, end in pairwise(ends)]
        scales = [_scale_of(blocks[place], columns=place > 0) for place in self._kept]
        self._centre = np.concatenate([block.mean(0) for block in kept])
        self._scale = np.concatenate([np.zeros(0), *scales])
        row_bytes = 8 * (len(self._scale) + len(self._names))
        self._largest_cache = max(_SMALLEST_CACHE, _CACHE_BYTES // row_bytes)

    @property
    def width(self) -> int:
        """The number of blocks."""
        return len(self._spans)

    def key(self, candidate: Candidate) -> Key:
        """Return what equal candidates share, in less time than their text takes."""
        values: tuple[object, ...]
        if self._values_of is not None:
            values = self._values_of(candidate)
        else:
            values = tuple([candidate.get(name, _ABSENT) for name in self._names])
        # True equals 1 and 1.0; where such values stand side by side, types tell them apart.
        return (*values, *map(type, values)) if self._ambiguous else values

    def encode(self, candidates: Sequence[Candidate]) -> Blocks:
        """Return one array [candidates, columns] per block."""
        keys = [self.key(candidate) for candidate in candidates]
        pairs = zip(keys, candidates, strict=True)
        fresh = {key: candidate for key, candidate in pairs if key not in self._cache}
        if fresh:
            raw = self._raw(list(fresh.values()))
            kept = [np.zeros((len(fresh), 0)), *(raw[place] for place in self._kept)]
            rows = (np.concatenate(kept, axis=1) - self._centre) / self._scale
            for key, row in zip(fresh, rows, strict=True):
                self._cache[key] = row.copy()  # a view would keep all rows alive
        encoded = np.stack([self._look_up(key) for key in keys])
        while len(self._cache) > self._largest_cache:
            del self._cache[next(iter(self._cache))]
        return tuple(encoded[:, span] for span in self._spans)

    def _look_up(self, key: Key) -> Floats:
        """Return a row, the last one then to be given up."""
        row = self._cache[key] = self._cache.pop(key)
        return row

    def _raw(self, candidates: Sequence[Candidate]) -> Blocks:
        own = self._own.fill(candidates)
        structure = self._space.structure
        if structure is None:
            return (own,)
        features = np.stack([structure.features(each) for each in candidates])
        proxies = np.stack([structure.proxies(each) for each in candidates])
        return own, features.astype(np.float64), proxies.astype(np.float64)


class _OwnColumns:
    """The columns of the parameters themselves, one after the other."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._hot: list[tuple[str, dict[object, int]]] = []
        self._other: list[tuple[slice, Parameter]] = []
        width = 0
        for each in parameters:
            if isinstance(each, Categorical) and not each.ordered and _has_distinct_values(each):
                self._hot.append((each.name, {v: width + i for i, v in enumerate(each.values)}))
                width += len(each.values)
            else:
                columns = len(_columns(each, {}))
                self._other.append((slice(width, width + columns), each))
                width += columns
        self._width = width

    def fill(self, candidates: Sequence[Candidate]) -> Floats:
        """Return [candidates, columns]."""
        filled = np.zeros((len(candidates), self._width))
        for row, candidate in zip(filled, candidates, strict=True):
            row[[at[candidate[name]] for name, at in self._hot if name in candidate]] = 1.0
            for span, parameter in self._other:
                row[span] = _columns(parameter, candidate)
        return filled


def _has_distinct_values(parameter: Parameter) -> bool:
    """Return whether no two values are equal but for their types."""
    if not isinstance(parameter, Categorical):
        return True
    return len(set(parameter.values)) == len(parameter.values)


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
