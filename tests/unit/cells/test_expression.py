"""Cells as expressions: what is the same, and what only looks alike."""

from __future__ import annotations

import itertools

from strandline.cells.drawing import Diagram, draw_diagrams
from strandline.cells.expression import ZERO, Expression, add


def conv(graph: Expression, *operands: tuple[int, ...]) -> tuple[int, ...]:
    return graph.apply("conv", *operands, trainable=True)


def test_operations_of_zero_are_zero() -> None:
    graph = Expression()
    assert conv(graph, ZERO) == ZERO
    assert graph.apply_linear("average", ZERO) == ZERO
    assert graph.finish(ZERO).canonical() == Expression().finish(ZERO).canonical()


def test_what_no_output_needs_is_not_there() -> None:
    graph = Expression()
    image = graph.source("in")
    used = conv(graph, image)
    conv(graph, used)
    assert [each.name for each in graph.finish(used).placed()] == ["conv"]


def test_an_average_of_a_sum_is_the_sum_of_averages() -> None:
    texts = []
    for distributed in (True, False):
        graph = Expression()
        image = graph.source("in")
        left, right = conv(graph, image), conv(graph, conv(graph, image))
        if distributed:
            total = add(graph.apply_linear("average", right), graph.apply_linear("average", left))
        else:
            total = graph.apply_linear("average", add(left, right))
        texts.append(graph.finish(total).canonical())
    assert texts[0] == texts[1]


def test_one_trained_operation_used_twice_differs_from_two_of_them() -> None:
    shared, separate = Expression(), Expression()
    image = shared.source("in")
    inner = conv(shared, image)
    once = shared.finish(add(conv(shared, inner), conv(shared, inner)))
    image = separate.source("in")
    terms = [conv(separate, conv(separate, image)) for _ in range(2)]
    assert once.canonical() != separate.finish(add(*terms)).canonical()
    assert once.paths() == separate.finish(add(*terms)).paths()


def test_an_operation_without_weights_may_be_shared_or_not() -> None:
    texts = []
    for shared in (True, False):
        graph = Expression()
        image = graph.source("in")
        first = graph.apply("max", image, trainable=False)
        second = first if shared else graph.apply("max", image, trainable=False)
        texts.append(graph.finish(add(conv(graph, first), conv(graph, second))).canonical())
    assert texts[0] == texts[1]


def build_ring(order: tuple[int, ...]) -> str:
    """Build three pairs around a ring, in some order: symmetric, so refinement alone ties."""
    graph = Expression()
    image = graph.source("in")
    made = {place: conv(graph, image) for place in order}
    pairs = {place: conv(graph, add(made[place], made[(place + 1) % 6])) for place in order}
    return graph.finish(*(pairs[place] for place in order)).canonical()


def test_symmetric_graphs_have_one_text_whatever_the_order() -> None:
    orders = itertools.islice(itertools.permutations(range(6)), 0, 720, 31)
    assert len({build_ring(order) for order in orders}) == 1


def test_graphs_that_look_alike_around_each_node_are_told_apart() -> None:
    def rings(*neighbour: int) -> str:
        graph = Expression()
        image = graph.source("in")
        made = [conv(graph, image) for _ in neighbour]
        pairs = [conv(graph, add(made[i], made[n])) for i, n in enumerate(neighbour)]
        return graph.finish(*pairs).canonical()

    assert rings(1, 2, 3, 4, 5, 0) != rings(1, 2, 0, 4, 5, 3)


def test_text_in_drawings_is_escaped() -> None:
    diagram = Diagram("<b>&\x1b[31m")
    diagram.add_state("a", '"><script>alert(1)</script>')
    drawing = draw_diagrams("x < y", [diagram])
    assert "<script>" not in drawing
    assert "\x1b" not in drawing
    assert "x &lt; y" in drawing
