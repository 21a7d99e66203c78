"""Find the pairs of vectors that may be alike among hundred thousands, without trying all.

Each vector gets a code of signs of random projections: the share of bits in which two
codes differ estimates their angle (SimHash, Charikar, STOC 2002). Codes are cut into
bands; a pair is tried when one band agrees in all bits but at most one (multi-probe
hashing, Lv et al., VLDB 2007; multi-index hashing, Norouzi et al., CVPR 2012). Up to a
few thousand vectors every pair is tried, which is exact and fast enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_BITS = 192
_ALL_PAIRS_UPTO = 4096
_CHUNK_PAIRS = 1_000_000


def candidate_pairs(
    vectors: NDArray[np.float32], max_differing_share: float
) -> Iterator[tuple[Ints, Ints]]:
    """Yield index arrays (i, j), i < j, of pairs whose angle may be small.

    A pair may come more than once. Memory stays bounded whatever the data look like.

    Args:
        vectors: float32 [n, D], of any length but 0.
        max_differing_share: pairs whose codes differ in more of their bits are left out;
            0.25 stands for an angle of 45 degrees.
    """
    count = len(vectors)
    if count < 2:
        return
    signs = _signs(vectors)
    codes = np.packbits(signs, axis=1).view(np.uint64)
    limit = int(max_differing_share * _BITS)
    width = 0 if count <= _ALL_PAIRS_UPTO else min(24, math.ceil(math.log2(count)))
    for band in _bands(signs, width):
        for i, j in _colliding(band, width):
            near = np.bitwise_count(codes[i] ^ codes[j]).sum(axis=1) <= limit
            if near.any():
                yield np.minimum(i[near], j[near]), np.maximum(i[near], j[near])


def _signs(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    # A fixed seed: codes must not depend on the run, and hide nothing.
    planes = np.random.default_rng(20020519).standard_normal((vectors.shape[1], _BITS))
    return np.asarray(vectors @ planes.astype(np.float32) > 0)


def _bands(signs: NDArray[np.bool_], width: int) -> Iterator[NDArray[np.uint32]]:
    if width == 0:
        yield np.zeros(len(signs), dtype=np.uint32)
        return
    weights = 1 << np.arange(width, dtype=np.uint32)
    for start in range(0, _BITS - width + 1, width):
        yield (signs[:, start : start + width] * weights).sum(axis=1, dtype=np.uint32)


def _colliding(band: NDArray[np.uint32], width: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield pairs whose band values differ in at most one bit, each pair once."""
    order = np.argsort(band, kind="stable")
    values = band[order]
    own = np.arange(len(values))
    yield from _expand(order, own + 1, np.searchsorted(values, values, side="right"))
    for bit in range(width):
        partner = values | np.uint32(1 << bit)
        first = np.searchsorted(values, partner, side="left")
        last = np.searchsorted(values, partner, side="right")
        yield from _expand(order, first, np.where(partner == values, first, last))


def _expand(order: Ints, first: Ints, last: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield (order[p], order[q]) for every p and q in first[p]…last[p], in chunks."""
    counts = np.maximum(last - first, 0)
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK_PAIRS, side="right")))
        sizes = counts[start:stop]
        left = np.repeat(np.arange(start, stop), sizes)
        offsets = np.arange(len(left)) - np.repeat(ends[start:stop] - sizes - done, sizes)
        yield order[left], order[np.repeat(first[start:stop], sizes) + offsets]
        start = stop
