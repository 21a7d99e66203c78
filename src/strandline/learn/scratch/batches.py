"""Batches of training images: drawn, shifted, mirrored and partly blanked, ahead of time.

A thread makes the next batches while the network learns from one. All that is random
comes from a generator of the epoch, so that a training that was killed goes on with the
very batches it would have seen. Processes that learn together draw alike, each for the whole
batch, and make the images of their own share: who trains an image does not change it.

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
from strandline.learn.scratch.ranks import ALONE, Ranks
from strandline.spec.networks import Flips, Schedule

# What is no part of the image is grey: zero to a network.
GREY = 128
_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """Some training images: those of one step, or this process's share of them.

    Attributes:
        rows: which ones, int64 [b].
        pixels: as changed, uint8 [b, S, S, 3].
    """

    rows: Rows
    pixels: Pixels


def batches_in_epoch(images: int, schedule: Schedule) -> int:
    """Return the number of batches; those left over have their turn in another epoch."""
    return max(1, images // schedule.batch_size)


def images_of_step(images: int, schedule: Schedule) -> int:
    """Return the number of images that one step learns from, all processes together."""
    return min(schedule.batch_size, images)


def draw_batches(
    pixels: Pixels,
    rows: Rows,
    schedule: Schedule,
    rng: np.random.Generator,
    ranks: Ranks = ALONE,
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
            for batch in _make_batches(pixels, rows, schedule, rng, ranks):
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
    pixels: Pixels, rows: Rows, schedule: Schedule, rng: np.random.Generator, ranks: Ranks
) -> Iterator[Batch]:
    order = rng.permutation(rows)
    size = images_of_step(len(order), schedule)
    mine = ranks.share(size)
    for number in range(batches_in_epoch(len(order), schedule)):
        some = order[number * size : (number + 1) * size]
        changes = draw_changes(size, pixels.shape[1], schedule, rng)
        yield Batch(some[mine], _changed(pixels[some[mine]], changes.of(mine)))


@dataclass(frozen=True, slots=True)
class Changes:
    """What is done to each of some images.

    Attributes:
        shifts: down and to the right, int64 [b, 2], each at most `reach`.
        turns: way in which it is laid, int64 [b].
        holes: corner of the square left blank, int64 [b, 2], whose side is `hole`.
    """

    shifts: NDArray[np.int64]
    turns: NDArray[np.int64]
    holes: NDArray[np.int64]
    reach: int
    hole: int

    def of(self, part: slice) -> Changes:
        """Return those of some of the images."""
        shifts, turns, holes = self.shifts[part], self.turns[part], self.holes[part]
        return Changes(shifts, turns, holes, self.reach, self.hole)


def draw_changes(count: int, side: int, schedule: Schedule, rng: np.random.Generator) -> Changes:
    """Draw what is done to so many images of this side."""
    reach, hole = round(schedule.crop * side), round(schedule.cutout * side)
    shifts = rng.integers(-reach, reach + 1, (count, 2))
    turns = rng.integers(0, _TURNS[schedule.flips], (count, 1)).ravel()
    holes = rng.integers(0, side, (count, 2)) - hole // 2
    return Changes(shifts, turns, holes, reach, hole)


def change(images: Pixels, schedule: Schedule, rng: np.random.Generator) -> Pixels:
    """Return changed copies of uint8 [b, S, S, 3], each in its own way."""
    count, side = images.shape[:2]
    return _changed(images, draw_changes(count, side, schedule, rng))


def _changed(images: Pixels, changes: Changes) -> Pixels:
    """Return changed copies.

    All images at once: a loop over them would keep the interpreter from the network, which
    needs it between any two operations.
    """
    changed = _shifted(_turned(images, changes.turns), changes.shifts, changes.reach)
    if hole := changes.hole:
        corners: list[list[int]] = changes.holes.tolist()
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
