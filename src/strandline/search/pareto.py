"""Which trials are best when several objectives count, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from strandline.search.encoding import Floats

_AT_ONCE = 1_000


def dominates(values: Floats, excess: Floats) -> NDArray[np.bool_]:
    """Return [n, n], whether the row's point is better than the column's.

    Deb's constrained domination (2002): a point within the limits is better than one beyond
    them, of two beyond them the nearer one is, and within them it is better which is nowhere
    worse and somewhere better.

    Args:
        values: [n, objectives], more is better.
        excess: [n], how far beyond the limits; 0 within.
    """
    no_worse = (values[:, None, :] >= values[None, :, :]).all(-1)
    better = (values[:, None, :] > values[None, :, :]).any(-1)
    nearer = excess[:, None] < excess[None, :]
    alike = excess[:, None] == excess[None, :]
    return np.asarray(nearer | (alike & no_worse & better))


def rank_fronts(values: Floats, excess: Floats) -> NDArray[np.int64]:
    """Return the front of each point, [n]: 0 is dominated by none, 1 by points of 0 alone, …"""
    above = dominates(values, excess)
    ranks = np.full(len(values), -1)
    left = np.ones(len(values), bool)
    front = 0
    while left.any():
        free = left & ~above[left].any(0)
        ranks[free] = front
        left &= ~free
        front += 1
    return ranks


def crowding(values: Floats) -> Floats:
    """Return the crowding distance of each point of one front, [n]; infinite at its ends."""
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0 and len(order) > 2:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def best_first(values: Floats, excess: Floats) -> NDArray[np.int64]:
    """Return the points' places, best first: by front, then the loneliest of a front."""
    ranks = rank_fronts(values, excess)
    lonely = np.zeros(len(values))
    for front in np.unique(ranks):
        members = ranks == front
        lonely[members] = crowding(values[members])
    return np.lexsort((-lonely, ranks))


def pareto_front(values: Sequence[Sequence[float]], excess: Sequence[float]) -> list[int]:
    """Return the places of the points that no other one dominates, in their order.

    Some at a time, against the front of those before: memory grows with the front, not with
    the square of all points. What a dropped point dominates, the one that dropped it does.
    """
    if not values:
        return []
    points, beyond = np.asarray(values, np.float64), np.asarray(excess, np.float64)
    front = np.array([], np.int64)
    for start in range(0, len(points), _AT_ONCE):
        places = np.concatenate([front, np.arange(start, min(start + _AT_ONCE, len(points)))])
        front = places[~dominates(points[places], beyond[places]).any(0)]
    return [int(place) for place in front]
