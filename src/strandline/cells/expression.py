"""What a cell computes, freed from how it was written down.

Two cells are the same when one becomes the other by renaming inner nodes, swapping the
terms of a sum, replacing an identity by what it copies, or leaving out what is zero or
never used. Here a cell is built once as a graph in which none of these differences
exist: identities and sums are not nodes but ways to write a *value*, a multiset of
operations. What remains is to number the operations in a way that does not depend on the
order in which they were made, which is canonical labelling of a small directed graph.

A trainable operation that is used twice is not the same as two of its kind with weights
of their own, so the graph keeps them apart; an operation without weights gives the same
result however often it is computed, so equal ones are one.

Source of the labelling: colour refinement, individualisation and pruning by symmetries as
in McKay, Congressus Numerantium 30 (1981).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

Value = tuple[int, ...]
"""A sum of operations by number, sorted; the empty sum is zero."""

ZERO: Value = ()
_Signature = tuple[object, ...]


class Operation(NamedTuple):
    """A node: `name` applied to operands whose order does not matter.

    Attributes:
        operands: empty for an input of the cell.
    """

    name: str
    operands: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A live operation and where it stands.

    Attributes:
        depth: operations on the longest way from an input up to and with this one.
        height: operations on the longest way from this one to an output, without this one.
        reads: names of the inputs that it reads directly.
    """

    name: str
    depth: int
    height: int
    reads: frozenset[str]


class Expression:
    """A graph under construction: make inputs, apply operations, add, then finish."""

    def __init__(self) -> None:
        self._operations: list[Operation] = []
        self._depths: list[int] = []
        self._equal: dict[Operation, Value] = {}

    def source(self, name: str) -> Value:
        """Return an input of the cell."""
        return self._shared(Operation(name, ()))

    def apply(self, name: str, *operands: Value, trainable: bool) -> Value:
        """Return `name` of the operands; zero when all of them are.

        A normalised convolution of zero is a constant per channel at most (the shift of
        its normalisation), whatever the image: it counts as zero.
        """
        if not any(operands):
            return ZERO
        operation = Operation(name, operands if len(operands) == 1 else tuple(sorted(operands)))
        return self._new(operation) if trainable else self._shared(operation)

    def apply_linear(self, name: str, value: Value) -> Value:
        """Return `name` of a value, an operation without weights that sums pass through.

        Averaging a sum is adding averages, so only the latter is ever written.
        """
        return add(*(self.apply(name, (number,), trainable=False) for number in value))

    def _shared(self, operation: Operation) -> Value:
        known = self._equal.get(operation)
        if known is None:
            known = self._equal[operation] = self._new(operation)
        return known

    def _new(self, operation: Operation) -> Value:
        deepest = -1
        for value in operation.operands:
            for below in value:
                if self._depths[below] > deepest:
                    deepest = self._depths[below]
        self._operations.append(operation)
        self._depths.append(deepest + 1)
        return (len(self._operations) - 1,)

    def finish(self, *outputs: Value) -> Finished:
        """Drop everything that no output needs, and number the rest from 0."""
        live = {number for value in outputs for number in value}
        # Operands stand before what reads them: once around suffices.
        for number in range(len(self._operations) - 1, -1, -1):
            if number in live:
                for value in self._operations[number].operands:
                    live.update(value)
        if len(live) == len(self._operations):
            return Finished((*self._operations, Operation("out", outputs)))
        kept = sorted(live)
        new = {old: place for place, old in enumerate(kept)}

        def renumber(values: Sequence[Value]) -> tuple[Value, ...]:
            return tuple([tuple([new[each] for each in value]) for value in values])

        operations = [
            Operation(self._operations[old].name, renumber(self._operations[old].operands))
            for old in kept
        ]
        return Finished((*operations, Operation("out", renumber(outputs))))

    def census(
        self, outputs: Sequence[Value], names: Sequence[str], depth: int, inputs: Sequence[str]
    ) -> list[int]:
        """Count operations by name and depth, by name and input read, and in all.

        Returns:
            len(names) * (depth + len(inputs)) + 3 numbers; operations deeper than `depth`
            count as being that deep. The last three are the number of operations, the
            longest way, and the number of outputs. What no output needs does not count.
        """
        at = _census_places(tuple(names), depth, tuple(inputs))
        # The last place takes what is not asked for.
        counts, total, longest = [0] * (len(at) + 1), 0, 0
        operations, depths = self._operations, self._depths
        live = {number for value in outputs for number in value}
        for number in range(len(depths) - 1, -1, -1):
            if number not in live or not depths[number]:
                continue
            name, operands = operations[number]
            total, longest = total + 1, max(longest, depths[number])
            counts[at.get((name, min(depths[number], depth)), -1)] += 1
            read = operands[0] if len(operands) == 1 else sum(operands, ())
            for below in read if len(read) == 1 else set(read):
                live.add(below)
                if not depths[below]:
                    counts[at.get((name, operations[below][0]), -1)] += 1
        return [*counts[:-1], total, longest, len(outputs)]


def add(*values: Value) -> Value:
    """Return the sum of values."""
    return tuple(sorted([number for value in values for number in value]))


@dataclass(frozen=True)
class Finished:
    """A graph whose operations stand in an order that computes; the last one is `out`."""

    operations: tuple[Operation, ...]

    def canonical(self) -> str:
        """Return a text that two graphs share exactly when they are isomorphic."""
        return min(self._texts(self._refine([0] * len(self.operations))))

    def _texts(self, colours: list[int]) -> set[str]:
        """Return the texts of the labellings left to choose from, as far as they differ."""
        tied = _tied(colours)
        if not tied:
            return {self._text(colours)}
        texts: set[str] = set()
        for number in tied:
            singled = self._single_out(number, colours)
            # A text met before means that a symmetry maps this branch to that one.
            if self._first_text(singled) not in texts:
                texts |= self._texts(singled)
        return texts

    def _first_text(self, colours: list[int]) -> str:
        while tied := _tied(colours):
            colours = self._single_out(tied[0], colours)
        return self._text(colours)

    def _single_out(self, chosen: int, colours: list[int]) -> list[int]:
        return self._refine([2 * colour + (n != chosen) for n, colour in enumerate(colours)])

    @cached_property
    def _users(self) -> list[tuple[tuple[int, int], ...]]:
        """Return who reads each operation: (operation, which operand), as often as it does."""
        users: list[list[tuple[int, int]]] = [[] for _ in self.operations]
        for number, operation in enumerate(self.operations):
            for place, value in enumerate(operation.operands):
                for read in value:
                    users[read].append((number, place))
        return [tuple(each) for each in users]

    def _refine(self, colours: list[int]) -> list[int]:
        """Split colours by the colours around, until nothing splits any more."""
        while True:
            # By operand: which terms are added together tells apart what they are not.
            sums = [
                [_coloured(value, colours) for value in each.operands] for each in self.operations
            ]
            signatures: list[_Signature] = [
                (
                    colours[number],
                    operation.name,
                    tuple(sorted(sums[number])),
                    tuple(sorted((colours[u], sums[u][at]) for u, at in self._users[number])),
                )
                for number, operation in enumerate(self.operations)
            ]
            ranks = {each: rank for rank, each in enumerate(sorted(set(signatures)))}
            refined = [ranks[each] for each in signatures]
            if len(ranks) == len(set(colours)):
                return refined
            colours = refined

    def _text(self, labels: list[int]) -> str:
        lines = []
        for number in sorted(range(len(self.operations)), key=labels.__getitem__):
            operation = self.operations[number]
            sums = ["+".join(map(str, _coloured(each, labels))) for each in operation.operands]
            lines.append(f"{labels[number]}={operation.name}({','.join(sorted(sums))})")
        return ";".join(lines)

    def placed(self) -> list[Placed]:
        """Return every operation that is neither an input nor the output."""
        depths, heights = self._depths(), self._heights()
        placed = []
        for number, operation in enumerate(self.operations[:-1]):
            if operation.operands:
                read = {self.operations[each] for value in operation.operands for each in value}
                inputs = frozenset(each.name for each in read if not each.operands)
                placed.append(Placed(operation.name, depths[number], heights[number], inputs))
        return placed

    def paths(self) -> Counter[tuple[str, ...]]:
        """Count the ways from an input to an output by the names of the operations passed.

        Source: path encoding of White et al., AAAI 2021 (arXiv 1910.11858), with counts.
        """
        ways: list[Counter[tuple[str, ...]]] = []
        for operation in self.operations:
            found: Counter[tuple[str, ...]] = Counter()
            for value in operation.operands:
                for read in value:
                    for way, count in ways[read].items():
                        found[(*way, operation.name)] += count
            ways.append(found if operation.operands else Counter({(): 1}))
        return Counter({way[:-1]: count for way, count in ways[-1].items()})

    def _depths(self) -> list[int]:
        depths: list[int] = []
        for operation in self.operations:
            below = [depths[read] for value in operation.operands for read in value]
            depths.append(1 + max(below, default=-1))
        return depths

    def _heights(self) -> list[int]:
        heights = [0] * len(self.operations)
        for number in reversed(range(len(self.operations) - 1)):
            heights[number] = max(heights[user] for user, _ in self._users[number]) + 1
        return [height - 1 for height in heights]


@lru_cache(maxsize=16)
def _census_places(
    names: tuple[str, ...], depth: int, inputs: tuple[str, ...]
) -> dict[tuple[str, int | str], int]:
    """Return where a census counts an operation of a depth, and one that reads an input."""
    keys: list[tuple[str, int | str]] = [(n, at) for n in names for at in range(1, depth + 1)]
    keys += [(name, read) for name in names for read in inputs]
    return {key: place for place, key in enumerate(keys)}


def _tied(colours: Sequence[int]) -> list[int]:
    """Return the nodes of the least colour that several have, none when all differ."""
    shared = [colour for colour, times in Counter(colours).items() if times > 1]
    return [number for number, colour in enumerate(colours) if shared and colour == min(shared)]


def _coloured(value: Value, colours: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(colours[number] for number in value))
