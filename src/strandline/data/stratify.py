"""Spread units over parts so that each part gets its share of every label.

A unit is what must not be torn apart: an image, or all images of a group. This is
iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011, algorithm 1):
the rarest label is served first, each of its units goes where most of that label is still
wanted. It serves single-label data as well, and here units weigh as much as their images.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from strandline.spec.records import Item


@dataclass(frozen=True, slots=True)
class Unit:
    """Images that stay together.

    Attributes:
        members: indexes of the images.
        labels: how many of them carry each label.
        rank: place in the seeded order, the same whatever the order of the images.
    """

    members: tuple[int, ...]
    labels: Counter[str]
    rank: bytes

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.members)


def make_units(
    items: Sequence[Item], indexes: Iterable[int], seed: int, *, grouped: bool = True
) -> list[Unit]:
    """Return the units of the images at `indexes`, in the seeded order.

    Images are one unit when a near-duplicate group or a user-given group links them,
    also over several steps; with `grouped` false each image is its own.
    """
    chosen = sorted(indexes, key=lambda index: items[index].image)
    links = _linked(items, chosen) if grouped else [[index] for index in chosen]
    units = [
        Unit(
            members=tuple(members),
            labels=Counter(label for i in members for label in set(items[i].labels or ())),
            rank=hashlib.sha256(f"{seed}:{items[members[0]].image}".encode()).digest(),
        )
        for members in links
    ]
    return sorted(units, key=lambda unit: unit.rank)


def spread(
    units: Sequence[Unit], shares: Sequence[float], fixed: Mapping[int, int] | None = None
) -> list[int]:
    """Return the part of each unit, parts being 0, 1, … with the given shares of the images.

    Where wishes are equal the part with the lower number wins.

    Args:
        units: in the order in which equals are served.
        shares: of each part; their sum is 1.
        fixed: part by position in `units`, for those decided before; they count.
    """
    return _Spread(units, shares).run(fixed or {})


class _Spread:
    """State of one run: what every part still wants, of each label and in all."""

    def __init__(self, units: Sequence[Unit], shares: Sequence[float]) -> None:
        self._units = units
        self._parts: list[int | None] = [None] * len(units)
        counts: Counter[str] = Counter()
        for unit in units:
            counts.update(unit.labels)
        total = sum(unit.size for unit in units)
        self._left: dict[str, int] = dict(counts)
        self._wanted = {label: [share * n for share in shares] for label, n in counts.items()}
        self._wanted_total = [share * total for share in shares]

    def run(self, fixed: Mapping[int, int]) -> list[int]:
        for position, part in fixed.items():
            self._put(position, part)
        carriers = self._carriers()
        # Counts only fall, so an entry that is no longer true is met again lower down.
        heap = [(self._left[label], label) for label in carriers]
        heapq.heapify(heap)
        while heap:
            left, label = heapq.heappop(heap)
            if left != self._left[label]:
                heapq.heappush(heap, (self._left[label], label))
                continue
            for position in carriers[label]:
                if self._parts[position] is None:
                    self._put(position, self._best(self._wanted[label]))
        for position, part_or_none in enumerate(self._parts):
            if part_or_none is None:
                self._put(position, self._best(self._wanted_total))
        return [part for part in self._parts if part is not None]

    def _carriers(self) -> dict[str, list[int]]:
        """Return the free units of each label, large ones first: small ones fill gaps."""
        carriers: dict[str, list[int]] = defaultdict(list)
        for position, unit in enumerate(self._units):
            if self._parts[position] is None:
                for label in unit.labels:
                    carriers[label].append(position)
        for positions in carriers.values():
            positions.sort(key=lambda p: (-self._units[p].size, self._units[p].rank))
        return carriers

    def _best(self, wanted: Sequence[float]) -> int:
        parts = range(len(wanted))
        # Rounding must not decide: 0.8 * 5 - 4 is no wish.
        return max(parts, key=lambda p: (round(wanted[p], 6), round(self._wanted_total[p], 6), -p))

    def _put(self, position: int, part: int) -> None:
        unit = self._units[position]
        self._parts[position] = part
        self._wanted_total[part] -= unit.size
        for label, count in unit.labels.items():
            self._wanted[label][part] -= count
            self._left[label] -= count


def _linked(items: Sequence[Item], indexes: Sequence[int]) -> list[list[int]]:
    """Return the connected sets of images, members in the order of `indexes`."""
    parents = {index: index for index in indexes}

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    first: dict[tuple[str, object], int] = {}
    for index in indexes:
        item = items[index]
        for key in (("near", item.near_duplicates), ("group", item.group)):
            if key[1] is not None:
                parents[root(index)] = root(first.setdefault(key, index))
    members: dict[int, list[int]] = {}
    for index in indexes:
        members.setdefault(root(index), []).append(index)
    return list(members.values())
