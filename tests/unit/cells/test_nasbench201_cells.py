"""The cells of NAS-Bench-201 against the published table, and against what they compute."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from strandline.cells.family import Candidate, Plan
from strandline.cells.nasbench201 import EDGES, NasBench201, edge_name, from_arch
from strandline.spec.errors import InvalidSpecError

PUBLISHED = Plan(image_size=32, labels=10, filters=16, cells=5)
CELLS = NasBench201()
Edge = tuple[int, int]

_RNG = np.random.default_rng(0)
_WEIGHTS = _RNG.normal(size=(6, 5, 5))
_MEANS = _RNG.normal(size=(5, 5))
_IMAGE = _RNG.normal(size=(5, 7))


def compute(candidate: Candidate, weights: dict[Edge, int]) -> NDArray[np.float64]:
    """Compute a cell on vectors, straight from its edges; `weights` says which each one has.

    A convolution is tanh and a matrix of its own, scaled by its kernel size's own factor;
    pooling is a matrix that all share. Like the real ones they are in general position, so
    two cells agree here only when they are the same function.
    """
    values = [_IMAGE]
    for target in (1, 2, 3):
        total = np.zeros_like(_IMAGE)
        for source in range(target):
            operation = candidate[edge_name(source, target)]
            if operation == "skip_connect":
                total = total + values[source]
            elif operation == "avg_pool_3x3":
                total = total + _MEANS @ values[source]
            elif operation != "none":
                sign = 1 if operation == "nor_conv_3x3" else -2
                total = total + sign * _WEIGHTS[weights[source, target]] @ np.tanh(values[source])
        values.append(total)
    return values[3]


def convolutions_that_matter(candidate: Candidate) -> list[Edge]:
    convs = [edge for edge in EDGES if str(candidate[edge_name(*edge)]).startswith("nor")]
    weights = {edge: number for number, edge in enumerate(convs)}
    whole = compute(candidate, weights)
    changed = [{**weights, edge: (weights[edge] + 1) % 6} for edge in convs]
    return [
        edge
        for edge, other in zip(convs, changed, strict=True)
        if not np.allclose(compute(candidate, other), whole)
    ]


def compute_the_same(one: Candidate, other: Candidate) -> bool:
    """Say whether some exchange of weights makes two cells the same function."""
    ours, theirs = convolutions_that_matter(one), convolutions_that_matter(other)
    dead = dict.fromkeys(EDGES, 0)
    result = compute(one, dead | {edge: number for number, edge in enumerate(ours)})
    if len(ours) != len(theirs):
        return False
    for order in itertools.permutations(range(len(ours))):
        pairs = zip(theirs, (ours[number] for number in order), strict=True)
        if any(other[edge_name(*a)] != one[edge_name(*b)] for a, b in pairs):
            continue
        weights = dead | dict(zip(theirs, order, strict=True))
        if np.allclose(compute(other, weights), result):
            return True
    return False


def test_cells_of_one_canonical_form_compute_the_same_and_others_do_not() -> None:
    rng = np.random.default_rng(1)
    same = different = 0
    for _ in range(60):
        candidate = CELLS.sample(rng)
        for neighbour in CELLS.neighbours(candidate):
            equal = CELLS.canonical(candidate) == CELLS.canonical(neighbour)
            assert compute_the_same(candidate, neighbour) == equal
            same, different = same + equal, different + (not equal)
    assert min(same, different) > 50


def test_the_inner_nodes_may_change_places() -> None:
    one = from_arch(
        "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|avg_pool_3x3~1|skip_connect~2|"
    )
    other = from_arch(
        "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|avg_pool_3x3~2|"
    )
    assert CELLS.canonical(one) == CELLS.canonical(other)
    assert compute_the_same(one, other)


@pytest.mark.parametrize("text", ["", "|a~0|", "|none~0|+|none~0|none~1|", "|none~7|+|x|+|y|"])
def test_what_is_no_cell_in_the_benchmarks_notation_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpecError, match="NAS-Bench-201"):
        from_arch(text)


@pytest.fixture(scope="module")
def table(shared_data: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["arch", "iso_index", "params_cifar10", "flops_cifar10"]
    path = shared_data / "nasbench201.parquet"
    rows: list[dict[str, Any]] = parquet.read_table(path, columns=columns).to_pylist()
    return rows


@pytest.mark.shared_data
def test_counts_agree_with_the_table_for_every_cell(table: list[dict[str, Any]]) -> None:
    for row in table:
        counts = CELLS.count(from_arch(row["arch"]), PUBLISHED)
        assert counts.parameters == row["params_cifar10"]
        assert counts.multiply_adds == row["flops_cifar10"]


@pytest.mark.shared_data
def test_where_the_published_classes_differ_the_function_says_why(
    table: list[dict[str, Any]],
) -> None:
    """Every merger of published classes is of one function, every split of different ones.

    The published classes compare a text in which zeros stay in sums and averages are not
    distributed (so they miss equalities), and which forgets whether a convolution is
    shared by two paths or there twice (so they claim some that are none).
    """
    cells = [from_arch(row["arch"]) for row in table]
    ours: dict[str, int] = {}
    merged: dict[str, dict[int, int]] = defaultdict(dict)
    split: dict[int, dict[str, int]] = defaultdict(dict)
    for number, (row, cell) in enumerate(zip(table, cells, strict=True)):
        canonical = CELLS.canonical(cell)
        ours.setdefault(canonical, number)
        merged[canonical].setdefault(row["iso_index"], number)
        split[row["iso_index"]].setdefault(canonical, number)
    assert len(split) == 6466
    for members in merged.values():
        first, *others = members.values()
        assert all(compute_the_same(cells[first], cells[other]) for other in others)
    for classes in split.values():
        for one, other in itertools.combinations(classes.values(), 2):
            assert not compute_the_same(cells[one], cells[other])
