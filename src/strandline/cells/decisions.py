"""What every space can do with its decisions alone, whatever they mean.

Source of the moves: Real et al., AAAI 2019 (arXiv 1802.01548) for mutation; uniform
crossover after Syswerda, ICGA 1989.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from operator import contains, itemgetter
from typing import Any, ClassVar

import numpy as np

from strandline.cells.family import Candidate, Choice
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

FORMAT = "strandline.dev/cell"
FORMAT_VERSION = 1


class Decisions:
    """Base of families: sampling, moves, checks and documents, from `choices`.

    A subclass sets `name` and `choices`. `annotations` are decisions that a candidate may
    state but that are not searched: moves carry them along unchanged.
    """

    name: ClassVar[str]
    choices: tuple[Choice, ...]
    annotations: tuple[Choice, ...] = ()

    @cached_property
    def _reader(self) -> tuple[itemgetter[Any], list[frozenset[Scalar]], list[bool]]:
        """Return how to read all decisions, the values of each, and whether they are truths."""
        names = [choice.name for choice in self.choices]
        truths = [any(isinstance(each, bool) for each in choice.values) for choice in self.choices]
        return itemgetter(*names), [frozenset(choice.values) for choice in self.choices], truths

    def _is_plain(self, candidate: Candidate) -> bool:
        """Return whether it decides what is to be decided and nothing else, in little time.

        False where that is not seen at once.
        """
        read, allowed, truths = self._reader
        try:
            values = read(candidate)
            known = len(candidate) == len(truths) and all(map(contains, allowed, values))
        except (KeyError, TypeError):  # an unknown decision, a value that cannot be looked up
            return False
        return known and [value is True or value is False for value in values] == truths

    def validate(self, candidate: Candidate) -> None:
        if self._is_plain(candidate):
            return
        needed = {choice.name: choice for choice in self.choices}
        allowed = needed | {choice.name: choice for choice in self.annotations}
        for name in needed:
            if name not in candidate:
                raise InvalidSpecError(f"a {self.name} cell must decide {name!r}")
        for name, value in candidate.items():
            if name not in allowed:
                raise InvalidSpecError(f"a {self.name} cell decides no {name!r}")
            if not _is_one_of(value, allowed[name].values):
                values = ", ".join(str(each) for each in allowed[name].values)
                raise InvalidSpecError(f"{name} is {value!r}: it must be one of {values}")

    def sample(self, rng: np.random.Generator) -> dict[str, Scalar]:
        return {each.name: each.values[rng.integers(len(each.values))] for each in self.choices}

    def neighbours(self, candidate: Candidate) -> Iterator[dict[str, Scalar]]:
        for choice in self.choices:
            for value in choice.values:
                if value != candidate[choice.name]:
                    yield {**candidate, choice.name: value}

    def mutate(self, candidate: Candidate, rng: np.random.Generator) -> dict[str, Scalar]:
        choice = self.choices[rng.integers(len(self.choices))]
        others = [value for value in choice.values if value != candidate[choice.name]]
        return {**candidate, choice.name: others[rng.integers(len(others))]}

    def crossover(
        self, first: Candidate, second: Candidate, rng: np.random.Generator
    ) -> dict[str, Scalar]:
        coins = rng.integers(2, size=len(self.choices))
        taken = {
            choice.name: (first, second)[coin][choice.name]
            for choice, coin in zip(self.choices, coins, strict=True)
        }
        return {**first, **taken}

    def to_json(self, candidate: Candidate) -> dict[str, Any]:
        self.validate(candidate)
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "family": self.name,
            "genotype": dict(candidate),
        }

    def from_json(self, document: Mapping[str, Any]) -> dict[str, Scalar]:
        stated = {"format": FORMAT, "version": FORMAT_VERSION, "family": self.name}
        for name, value in stated.items():
            if document.get(name) != value:
                raise InvalidSpecError(
                    f"{name} of the cell's document is {document.get(name)!r}: "
                    f"only {value!r} can be read here"
                )
        if unknown := sorted(set(document) - {*stated, "genotype"}):
            raise InvalidSpecError(f"the cell's document has an unknown field {unknown[0]!r}")
        genotype = document.get("genotype")
        if not isinstance(genotype, Mapping):
            raise InvalidSpecError("the cell's document has no genotype")
        candidate = dict(genotype)
        self.validate(candidate)
        return candidate


def _is_one_of(value: Scalar, values: tuple[Scalar, ...]) -> bool:
    # True == 1 == 1.0 in Python; a cell that states a truth value where a number belongs
    # was written by mistake.
    return any(
        value == known and isinstance(value, bool) == isinstance(known, bool) for known in values
    )
