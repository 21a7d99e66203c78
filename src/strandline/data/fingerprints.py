"""A small, fixed-size fingerprint of an image, enough to tell whether two show the same.

An import sees each image once, in a worker, so what the comparison needs later must fit in
a few hundred bytes: a digest of the exact pixels and a thumbnail. The thumbnail is made
from decoded pixels with an antialiased filter, so format, recompression and size hardly
show in it; its range is stretched to eight bits, so a faint picture keeps its detail.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIDE = 24
"""Side of the gray thumbnail: detail down to a 24th of the picture is compared."""
COLOR_SIDE = 4

_DIGEST_BYTES = 16
_LAYOUT = np.dtype(
    [
        ("digest", f"S{_DIGEST_BYTES * 2}"),
        ("low", "<f4"),
        ("high", "<f4"),
        ("gray", "u1", (SIDE, SIDE)),
        ("color", "i1", (2, COLOR_SIDE, COLOR_SIDE)),
    ]
)
FINGERPRINT_BYTES = _LAYOUT.itemsize

# ITU-R BT.601: luma, and the two color differences that JPEG calls Cb and Cr.
_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
    dtype=np.float32,
)
_STRIP_VALUES = 4_000_000


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Fingerprints taken apart, aligned.

    Attributes:
        digests: of the exact pixels, [n].
        gray: luma in gray levels 0…255, float32 [n, SIDE, SIDE].
        color: Cb and Cr in levels, float32 [n, 2, COLOR_SIDE, COLOR_SIDE].
    """

    digests: NDArray[np.bytes_]
    gray: Floats
    color: Floats


def fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Return the fingerprint of an image, `FINGERPRINT_BYTES` long.

    Args:
        pixels: uint8 [H, W, 3], RGB, upright.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"expected uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    small = _shrink(_without_repetition(pixels)) @ _YCC.T
    gray = small[:, :, 0]
    low, high = float(gray.min()), float(gray.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    blocks = small[:, :, 1:].reshape(COLOR_SIDE, SIDE // COLOR_SIDE, COLOR_SIDE, -1, 2)
    record = np.zeros((), dtype=_LAYOUT)
    record["digest"] = _digest(pixels)
    record["low"], record["high"] = low, high
    record["gray"] = np.rint((gray - low) * scale)
    record["color"] = np.clip(np.rint(blocks.mean(axis=(1, 3))), -127, 127).transpose(2, 0, 1)
    return record.tobytes()


def read_fingerprints(fingerprints: Sequence[bytes]) -> Thumbnails:
    """Take fingerprints apart.

    Raises:
        ValueError: one has a length that no fingerprint has.
    """
    if any(len(each) != FINGERPRINT_BYTES for each in fingerprints):
        raise ValueError(f"a fingerprint has {FINGERPRINT_BYTES} bytes")
    records = np.frombuffer(b"".join(fingerprints), dtype=_LAYOUT)
    low, high = (records[name].astype(np.float32)[:, None, None] for name in ("low", "high"))
    gray = low + records["gray"].astype(np.float32) * ((high - low) / np.float32(255))
    return Thumbnails(records["digest"], gray, records["color"].astype(np.float32))


def _digest(pixels: NDArray[np.uint8]) -> bytes:
    hasher = hashlib.sha256(repr(pixels.shape).encode())  # in hardware on today's processors
    hasher.update(np.ascontiguousarray(pixels).data)
    return hasher.hexdigest()[: 2 * _DIGEST_BYTES].encode()


def _without_repetition(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture before its pixels were repeated into blocks, as a view.

    The edges of blocks look like detail that the picture does not have, and all pictures
    enlarged alike share them.
    """
    down = _repetition(pixels)
    across = _repetition(pixels[::down].transpose(1, 0, 2))
    return pixels[::down, ::across]


def _repetition(lines: NDArray[np.uint8]) -> int:
    """Return how often each line stands there, 1 as soon as that is plain."""
    count = len(lines)
    factor = count
    longest = max(1, _STRIP_VALUES // (lines.shape[1] * lines.shape[2]))
    # In nearly every picture the first two lines differ, so the first strips are short.
    start, step = 0, 1
    while factor != 1 and start < count - 1:
        strip = lines[start : start + step + 1]
        changed = (strip[1:] != strip[:-1]).any(axis=(1, 2))
        factor = math.gcd(factor, *(np.flatnonzero(changed) + start + 1).tolist())
        start, step = start + step, min(2 * step, longest)
    return factor


def _shrink(pixels: NDArray[np.uint8]) -> Floats:
    """Return the antialiased thumbnail [SIDE, SIDE, 3], in strips to bound memory."""
    height, width = pixels.shape[:2]
    down, across = _filter(height), _filter(width)
    narrow = np.zeros((SIDE, width * 3), dtype=np.float32)
    rows = max(1, _STRIP_VALUES // (3 * width))
    for top in range(0, height, rows):
        strip = pixels[top : top + rows].astype(np.float32)
        narrow += down[:, top : top + rows] @ strip.reshape(len(strip), -1)
    small = across @ narrow.reshape(SIDE, width, 3)
    return np.asarray(small, np.float32)


@lru_cache(maxsize=16)
def _filter(size: int) -> Floats:
    """Return weights [SIDE, size] of a triangle filter that widens when it shrinks."""
    scale = size / SIDE
    centers = (np.arange(SIDE) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centers[:, None]) / max(1.0, scale)
    weights = np.maximum(0.0, 1.0 - distance)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
