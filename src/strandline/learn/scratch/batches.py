"""Batches of training images: drawn, shifted, mirrored and partly blanked, ahead of time.

A thread makes the next batches while the network learns from one. All that is random
comes from a generator of the epoch, so that a training that was killed goes on with the
very batches it would have seen.

Sources: shifts and mirror images as in He et al. 2016 (arXiv 1512.03385, section 4.2);
cutout of DeVries and Taylor (arXiv 1708.04552).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.learn.features import Rows
from strandline.learn.scratch.pixels import Pixels
from strandline.spec.networks import Flips, Schedule

# What is no part of the image is grey: zero to a network.
GREY = 128
_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Some training images.

    Attributes:
        rows: which ones, int64 [b].
        pixels: as changed, uint8 [b, S, S, 3].
    """

    rows: Rows
    pixels: Pixels


def batches_in_epoch(images: int, schedule: Schedule) -> int:
    """Return the number of batches; those left over have their turn in another epoch."""
    return max(1, images // schedule.batch_size)


def draw_batches(
    pixels: Pixels, rows: Rows, schedule: Schedule, rng: np.random.Generator
) -> Iterator[Batch]:
    """Iterate over the batches of an epoch; made in a thread that ends with the iterator."""
    made: queue.Queue[Batch | BaseException | None] = queue.Queue(_AHEAD)
    left = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not left.is_set():
            try:
                made.put(item, timeout=0.5)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in _make_batches(pixels, rows, schedule, rng):
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # raised where the batches are taken
            put(error)

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        left.set()
        thread.join()


def _make_batches(
    pixels: Pixels, rows: Rows, schedule: Schedule, rng: np.random.Generator
) -> Iterator[Batch]:
    order = rng.permutation(rows)
    size = min(schedule.batch_size, len(order))
    for number in range(batches_in_epoch(len(order), schedule)):
        some = order[number * size : (number + 1) * size]
        yield Batch(some, change(pixels[some], schedule, rng))


def change(images: Pixels, schedule: Schedule, rng: np.random.Generator) -> Pixels:
    """Return changed copies of uint8 [b, S, S, 3], each in its own way.

    All images at once: a loop over them would keep the interpreter from the network, which
    needs it between any two operations.
    """
    count, side = images.shape[:2]
    reach, hole = round(schedule.crop * side), round(schedule.cutout * side)
    shifts = rng.integers(-reach, reach + 1, (count, 2))
    turns = rng.integers(0, _TURNS[schedule.flips], (count, 1)).ravel()
    corners: list[list[int]] = (rng.integers(0, side, (count, 2)) - hole // 2).tolist()
    changed = _shifted(_turned(images, turns), shifts, reach)
    if hole:
        for target, (top, start) in zip(changed, corners, strict=True):
            target[max(top, 0) : top + hole, max(start, 0) : start + hole] = GREY
    return changed


def _shifted(images: Pixels, shifts: NDArray[np.int64], reach: int) -> Pixels:
    """Return copies shifted down and right by int [b, 2], each at most `reach`; grey comes in."""
    count, side = images.shape[:2]
    width = side + 2 * reach
    framed = np.full((count, width, width, 3), GREY, np.uint8)
    framed[:, reach : reach + side, reach : reach + side] = images
    # A row of pixels is one run of bytes, which is copied as such.
    windows = np.lib.stride_tricks.sliding_window_view(
        framed.reshape(count, width, 3 * width), (side, 3 * side), (1, 2)
    )
    starts = reach - shifts
    shifted = windows[np.arange(count), starts[:, 0], 3 * starts[:, 1]]
    return shifted.reshape(images.shape)


_TURNS = {Flips.NONE: 1, Flips.HORIZONTAL: 2, Flips.DIHEDRAL: 8}


def _turned(images: Pixels, turns: NDArray[np.int64]) -> Pixels:
    """Return each image laid in one of the eight ways; the first two keep its top up."""
    turned = images.copy()
    for turn in range(1, 8):
        mine = turns == turn
        if not mine.any():
            continue
        some = turned[mine]
        if turn & 1:
            some = some[:, :, ::-1]
        if turn & 2:
            some = some[:, ::-1]
        turned[mine] = some.transpose(0, 2, 1, 3) if turn & 4 else some
    return turned
