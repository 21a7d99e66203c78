"""NASNet, DARTS and MBConv: published sizes, isomorphic cells, and what cells compute."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import prod

import numpy as np
import pytest
from numpy.typing import NDArray

from strandline.cells import darts, nasnet
from strandline.cells.darts import DARTS_V2, Darts
from strandline.cells.family import Candidate, Counts, Plan
from strandline.cells.mbconv import MOBILENET_V2, MbConv, round_channels
from strandline.cells.nasnet import NASNET_A, NasNet
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

Vectors = NDArray[np.float64]
IMAGENET = Plan(image_size=224, labels=1000, filters=44, cells=4, stem="imagenet")


def test_nasnet_a_mobile_has_the_published_size() -> None:
    counts = NasNet().count(NASNET_A, IMAGENET)
    assert counts == Counts(parameters=5_289_978, multiply_adds=563_639_816)


def test_nasnet_a_for_cifar_has_the_published_size() -> None:
    counts = NasNet().count(NASNET_A, Plan(32, 10, filters=768 // 24, cells=6))
    assert round(counts.parameters / 1e6, 1) == 3.3


def test_darts_has_the_published_sizes() -> None:
    assert Darts().count(DARTS_V2, Plan(32, 10, 36, 6)).parameters == 3_349_342
    assert Darts().count(DARTS_V2, Plan(224, 1000, 48, 4, "imagenet")).parameters == 4_718_752


def test_mobilenet_v2_has_the_published_size() -> None:
    counts = MbConv().count(MOBILENET_V2, Plan(224, 1000, 16, 1, "imagenet"))
    assert counts.parameters == 3_504_872
    assert round(counts.multiply_adds / 1e6) == 301


def test_nasnet_decides_as_published() -> None:
    choices = NasNet().choices
    assert len(choices) == 50
    assert len(nasnet.OPERATIONS) == 13
    by_block = prod((state + 2) ** 2 * 13**2 * 2 for state in range(5))
    assert prod(len(choice.values) for choice in choices) == by_block**2


def test_what_joins_the_output_of_a_cell_may_be_stated_and_stays() -> None:
    space, rng = NasNet(), np.random.default_rng(0)
    space.validate(NASNET_A)
    assert set(space.mutate(NASNET_A, rng)) == set(NASNET_A)
    assert space.from_json(space.to_json(NASNET_A)) == NASNET_A
    searched = {choice.name: NASNET_A[choice.name] for choice in space.choices}
    space.validate(searched)
    assert space.canonical(searched) != space.canonical(NASNET_A)
    assert space.count(searched, IMAGENET).parameters < 5_289_978


def test_the_stem_for_large_images_needs_three_pixels() -> None:
    with pytest.raises(InvalidSpecError, match="3 pixels"):
        NasNet().count(NASNET_A, Plan(2, 2, 8, 1, "imagenet"))


@pytest.mark.parametrize(
    ("asked", "rounded"), [(1, 8), (12, 16), (16, 16), (24, 24), (11, 16), (84, 88)]
)
def test_channels_are_multiples_of_eight_and_not_much_too_few(asked: int, rounded: int) -> None:
    assert round_channels(asked) == rounded


# ------------------------------------------------ the same cell, written in another way


def rewrite_nasnet(candidate: Candidate, rng: np.random.Generator) -> dict[str, Scalar]:
    """Number blocks in another order that computes, and swap the sides of some."""
    rewritten = dict(candidate)
    for cell in nasnet.CELLS:
        old_names = nasnet.STATES[2:]
        reads = {
            name: {candidate[f"{cell}_{block}_{side}"] for side in ("first", "second")}
            for block, name in enumerate(old_names)
        }
        orders = [
            order
            for order in permutations(old_names)
            if all(
                other not in reads[name] or order.index(other) < place
                for place, name in enumerate(order)
                for other in old_names
            )
        ]
        order = orders[rng.integers(len(orders))]
        names: dict[Scalar, str] = dict(zip(order, old_names, strict=True))
        for place, old in enumerate(order):
            sides = ["first", "second"]
            rng.shuffle(sides)
            number = old_names.index(old)
            for side, source in zip(("first", "second"), sides, strict=True):
                state = candidate[f"{cell}_{number}_{source}"]
                rewritten[f"{cell}_{place}_{side}"] = names.get(state, state)
                rewritten[f"{cell}_{place}_{side}_op"] = candidate[f"{cell}_{number}_{source}_op"]
            rewritten[f"{cell}_{place}_combine"] = candidate[f"{cell}_{number}_combine"]
    return rewritten


def rewrite_darts(candidate: Candidate, rng: np.random.Generator) -> dict[str, Scalar]:
    """Exchange the last two nodes of a cell where the last one does not read the other."""
    cells = []
    for cell in darts.CELLS:
        edges = [(operation, state) for state, operation, _ in darts.edges(candidate, cell)]
        if all(state != "node_2" for _, state in edges[6:]):
            edges = [*edges[:4], *edges[6:], *edges[4:6]]
        cells.append(edges)
    return darts.genotype(cells[0], cells[1])


@pytest.mark.parametrize(
    ("space", "rewrite"), [(NasNet(), rewrite_nasnet), (Darts(), rewrite_darts)], ids=lambda x: ""
)
def test_cells_written_in_another_order_are_recognised(
    space: NasNet | Darts, rewrite: Callable[[Candidate, np.random.Generator], dict[str, Scalar]]
) -> None:
    rng = np.random.default_rng(0)
    other = 0
    for _ in range(60):
        candidate = space.sample(rng)
        rewritten = rewrite(candidate, rng)
        space.validate(rewritten)
        other += rewritten != candidate
        assert space.canonical(rewritten) == space.canonical(candidate)
        assert space.features(rewritten).tolist() == space.features(candidate).tolist()
        plan = Plan(32, 10, 12, 2)
        assert space.count(rewritten, plan) == space.count(candidate, plan)
    assert other > 20


_RNG = np.random.default_rng(3)
_MATRICES = {name: _RNG.normal(size=(4, 4)) for name in (*darts.OPERATIONS, "mean", "most")}
_INPUTS = {"previous": _RNG.normal(size=(4, 6)), "current": _RNG.normal(size=(4, 6))}


def compute_darts(candidate: Candidate, cell: str) -> list[list[float]]:
    """Compute a cell on vectors, each kind of convolution having one set of weights."""
    states: dict[str, Vectors] = dict(_INPUTS)
    for state, operation, node in darts.edges(candidate, cell):
        value = states[state]
        if operation == "avg_pool_3x3":
            value = _MATRICES["mean"] @ value
        elif operation == "max_pool_3x3":
            value = np.abs(_MATRICES["most"] @ value)
        elif operation != "skip_connect" or (cell == "reduction" and state in _INPUTS):
            value = _MATRICES[operation] @ np.tanh(value)
        states[node] = states.get(node, np.zeros((4, 6))) + value
    rows = [states[node].round(6).ravel().tolist() for node in darts.STATES[2:]]
    return sorted(rows)  # the order of concatenated states is the next cell's to undo


def test_darts_cells_without_weights_are_equal_exactly_when_they_compute_the_same() -> None:
    space, rng = Darts(), np.random.default_rng(5)
    unweighted = (*["skip_connect"] * 4, "avg_pool_3x3", "max_pool_3x3")
    results: dict[str, bytes] = {}
    for _ in range(600):
        candidate = {
            **space.sample(rng),
            **{
                f"normal_{node}_{side}_op": unweighted[rng.integers(6)]
                for node in range(4)
                for side in ("first", "second")
            },
        }
        result = np.array(compute_darts(candidate, "normal")).round(4) + 0.0
        canonical = darts.expression(candidate, "normal").canonical()
        assert results.setdefault(canonical, result.tobytes()) == result.tobytes()
    assert len(set(results.values())) == len(results) <= 590


def test_an_identity_is_what_it_copies() -> None:
    """Block 1 adds the identity of block 0: the same three terms in another grouping."""
    first, second, third = (("current", f"sep_conv_{k}x{k}") for k in (3, 5, 7))
    rest = [("previous", "conv_1x1", "previous", "conv_3x3", "add")] * 3

    def cell(*terms: tuple[str, str]) -> list[tuple[str, str, str, str, str]]:
        (a, a_op), (b, b_op), (c, c_op) = terms
        inner = (a, a_op, b, b_op, "add")
        return [inner, ("block_0", "identity", c, c_op, "add"), *rest]

    texts = {
        NasNet().canonical(nasnet.genotype(cell(*terms), cell(first, second, third)))
        for terms in permutations((first, second, third))
    }
    assert len(texts) == 1


def test_an_identity_that_halves_the_size_is_a_convolution() -> None:
    rest = [("block_0", "conv_3x3", "block_0", "conv_3x3", "add")] * 4
    normal = [("current", "identity", "previous", "identity", "add"), *rest]
    one = nasnet.genotype(normal, normal)
    assert nasnet.expression(one, "normal").placed()[0].reads == {"previous", "current"}
    names = [each.name for each in nasnet.expression(one, "reduction").placed()]
    assert "identity" not in names
    assert names.count("conv_1x1") == 2


def test_an_identity_differs_from_a_convolution_only_where_it_copies() -> None:
    """It does not copy an input of a reduction cell, nor a block that concatenates."""
    space, rng, plan = NasNet(), np.random.default_rng(4), Plan(32, 10, 12, 1)
    seen = set()
    for _ in range(300):
        candidate = space.sample(rng)
        cell, block = str(rng.choice(nasnet.CELLS)), int(rng.integers(nasnet.BLOCKS))
        state = str(candidate[f"{cell}_{block}_first"])
        pair = [
            {**candidate, f"{cell}_{block}_first_op": operation}
            for operation in ("identity", "conv_1x1")
        ]
        read = state in nasnet.INPUTS
        combine = "" if read else str(candidate[f"{cell}_{state.removeprefix('block_')}_combine"])
        changes = combine == "concat" or (read and cell == "reduction")
        counts = [space.count(each, plan) for each in pair]
        assert (counts[0] == counts[1]) == changes
        assert (space.canonical(pair[0]) == space.canonical(pair[1])) == changes
        if changes:
            assert space.features(pair[0]).tolist() == space.features(pair[1]).tolist()
        seen.add((cell, read, combine))
    assert len(seen) == 6


def test_concatenating_differs_from_adding() -> None:
    candidate = NasNet().sample(np.random.default_rng(0))
    for block in range(5):
        name = f"normal_{block}_combine"
        texts = {NasNet().canonical({**candidate, name: how}) for how in ("add", "concat")}
        assert len(texts) == 2
