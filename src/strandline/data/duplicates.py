"""Group images that show the same picture, so that no test image was trained on.

Pictures of one class look alike, and low-resolution ones more so; grouping those would
empty the test split. So the evidence for "same picture" is weighed, not only the
likeness. Thumbnails are whitened (natural spectra fall with frequency, so the plain
correlation of two beaches is .99 though no wave is the same; Field, JOSA A 1987),
aligned by one least-squares step over shift, scale, gain and offset (Lucas and Kanade,
IJCAI 1981), and the unexplained share `u` of the energy is left. Two unrelated pictures
with `d` independent details leave a share as small as `u` with a chance of about
u^(d/2): much detail may differ a little (a crop), little detail must agree well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.data.fingerprints import (
    FINGERPRINT_BYTES as FINGERPRINT_BYTES,
    SIDE,
    Thumbnails,
    fingerprint as fingerprint,
    read_fingerprints,
)
from strandline.data.similar_pairs import candidate_pairs

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Frequencies compared, of the SIDE that the thumbnail has: the highest are mostly noise.
_FREQUENCIES = 16
# Whitened contrast, in gray levels: below it rounding and compression decide.
_FLAT = 8.0
# Twice the negative logarithm of the chance that unrelated pictures agree so well.
_EVIDENCE = 65.0
# Details that the alignment and the shared layout of similar scenes use up.
_FREE_DETAILS = 10.0
_MOST_UNEXPLAINED = 0.25
# Without alignment so small a difference is recompression whatever the detail.
_SURELY_SAME = 0.005
# The alignment explains at most this factor of the plain difference.
_ALIGNMENT_GAIN = 6.0
_CANDIDATE_SHARE = 0.25
_CHUNK = 4096


def group_near_duplicates(fingerprints: Sequence[bytes]) -> list[int | None]:
    """Return for each image the id of its near-duplicate group, None when it has none.

    Groups are numbered 0, 1, … in order of their first member and are transitive: if a
    is like b and b like c, the three are one group. The result does not depend on the
    order of images but for that numbering.

    Raises:
        ValueError: one of the fingerprints is none.
    """
    if not fingerprints:
        return []
    unique, place = _unique(fingerprints)
    thumbnails = read_fingerprints([fingerprints[i] for i in unique])
    parents = _Forest(len(unique))
    whitened = _Whitened.of(thumbnails)
    rows = np.flatnonzero(whitened.contrast > _FLAT)
    vectors = whitened.vectors[rows]
    for i, j in candidate_pairs(vectors, _CANDIDATE_SHARE):
        for a, b in _chunks(rows[i], rows[j]):
            same = _same_picture(thumbnails, whitened, a, b)
            parents.join(a[same], b[same])
    return _number(parents.roots()[place])


def _unique(fingerprints: Sequence[bytes]) -> tuple[Ints, Ints]:
    """Return one index for each distinct fingerprint, and each image's place in it."""
    first: dict[bytes, int] = {}
    places = [first.setdefault(each, len(first)) for each in fingerprints]
    place = np.array(places, dtype=np.int64)
    return np.unique(place, return_index=True)[1], place


def _number(roots: Ints) -> list[int | None]:
    _, where, sizes = np.unique(roots, return_inverse=True, return_counts=True)
    numbers: dict[int, int] = {}
    return [
        numbers.setdefault(int(root), len(numbers)) if size > 1 else None
        for root, size in zip(roots, sizes[where], strict=True)
    ]


class _Forest:
    """Union-find over 0…n-1 (Tarjan 1975); the smallest member is the root."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def join(self, left: Ints, right: Ints) -> None:
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low

    def roots(self) -> Ints:
        return np.array([self._root(i) for i in range(len(self._parents))], dtype=np.int64)

    def _root(self, node: int) -> int:
        parents = self._parents
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node


# ---------------------------------------------------------------- whitening


def _cosines() -> Floats:
    """Return the first rows of the orthonormal DCT-II, [_FREQUENCIES, SIDE]."""
    k = np.arange(_FREQUENCIES)[:, None]
    rows = np.cos(np.pi * k * (np.arange(SIDE) + 0.5) / SIDE) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, dtype=np.float32)


_DCT = _cosines()
# Amplitudes of natural pictures fall as 1/f: weighting with f makes them count alike.
_WEIGHTS = np.hypot(*np.meshgrid(np.arange(_FREQUENCIES), np.arange(_FREQUENCIES))).astype(
    np.float32
)


def _whiten(images: Floats) -> Floats:
    """Return weighted DCT coefficients [n, D] of images [n, SIDE, SIDE]; 0 for the mean."""
    weighted = (_DCT @ images @ _DCT.T) * _WEIGHTS
    return np.asarray(weighted.reshape(len(images), -1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Whitened:
    """Attributes: unit vectors [n, D]; contrast [n] in levels; details [n], their number."""

    vectors: Floats
    contrast: Floats
    details: Floats

    @classmethod
    def of(cls, thumbnails: Thumbnails) -> _Whitened:
        vectors = _whiten(thumbnails.gray)
        energy = vectors**2
        total = energy.sum(axis=1)
        # Participation ratio: how many coefficients share the energy.
        details = total**2 / np.maximum((energy**2).sum(axis=1), 1e-12)
        lengths = np.sqrt(total)
        return cls(vectors / np.maximum(lengths, 1e-6)[:, None], lengths / SIDE, details)


# ---------------------------------------------------------------- verifying


def _chunks(left: Ints, right: Ints) -> list[tuple[Ints, Ints]]:
    starts = range(0, len(left), _CHUNK)
    return [(left[s : s + _CHUNK], right[s : s + _CHUNK]) for s in starts]


def _same_picture(thumbnails: Thumbnails, whitened: _Whitened, i: Ints, j: Ints) -> Flags:
    """Return for each pair whether both show the same picture."""
    likeness = (whitened.vectors[i] * whitened.vectors[j]).sum(axis=1)
    plain = np.where(likeness > 0, 1 - likeness**2, 1.0)
    details = np.minimum(whitened.details[i], whitened.details[j])
    allowed = _allowed(details)
    same = plain <= _SURELY_SAME
    close = np.flatnonzero(~same & (plain <= _ALIGNMENT_GAIN * allowed))
    if len(close):
        a, b = thumbnails.gray[i[close]], thumbnails.gray[j[close]]
        unexplained = np.maximum(_unexplained(a, b), _unexplained(b, a))
        same[close] = unexplained <= allowed[close]
    found = np.flatnonzero(same)
    same[found] = _same_color(thumbnails, i[found], j[found])
    return np.asarray(same)


def _allowed(details: Floats) -> Floats:
    """Return the unexplained share up to which the evidence suffices."""
    free = np.maximum(details - _FREE_DETAILS, 1e-3)
    return np.asarray(np.minimum(_MOST_UNEXPLAINED, np.exp(-_EVIDENCE / free)))


def _unexplained(a: Floats, b: Floats) -> Floats:
    """Return the share of the energy of b that a, moved and stretched, leaves over."""
    vertical, horizontal = (np.asarray(np.gradient(a, axis=axis)) for axis in (1, 2))
    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)
    parts = (a, horizontal, vertical, horizontal * ramp, vertical * ramp[:, None])
    basis = np.stack([_whiten(part) for part in parts], axis=2)
    target = _whiten(b)[:, :, None]
    transposed = basis.transpose(0, 2, 1)
    gram = transposed @ basis
    steadied = gram + 1e-6 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(
        5, dtype=np.float32
    )
    solution = np.linalg.solve(steadied, transposed @ target)
    left = ((target - basis @ solution) ** 2).sum(axis=(1, 2))
    share = left / np.maximum((target**2).sum(axis=(1, 2)), 1e-12)
    # A negative gain is the negative of the picture, which is another picture.
    return np.asarray(np.where(solution[:, 0, 0] > 0, share, 1.0))


def _same_color(thumbnails: Thumbnails, i: Ints, j: Ints) -> Flags:
    """Return whether tint, brightness and contrast differ by no more than a correction."""
    a, b = thumbnails.color[i], thumbnails.color[j]
    tint = np.sqrt(((a - b) ** 2).mean(axis=(1, 2, 3)))
    vivid = np.sqrt(np.maximum((a**2).mean(axis=(1, 2, 3)), (b**2).mean(axis=(1, 2, 3))))
    gray_a, gray_b = thumbnails.gray[i], thumbnails.gray[j]
    means = gray_a.mean(axis=(1, 2)), gray_b.mean(axis=(1, 2))
    spreads = gray_a.std(axis=(1, 2)), gray_b.std(axis=(1, 2))
    return np.asarray(
        (tint <= 6 + 0.2 * vivid)
        & (np.abs(means[0] - means[1]) <= 10 + 0.2 * np.maximum(*means))
        & (np.minimum(*spreads) >= 0.7 * np.maximum(*spreads))
    )
