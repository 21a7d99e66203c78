"""What an architecture space is: a fixed list of decisions, and what can be known of a choice.

Search algorithms, the one-shot networks, the converters and the drawings all speak of
cells, and none of them should know how any one space writes its cells down. So a space
is a `Family`: flat, independent, categorical decisions of which *every* combination is a
valid candidate, and pure functions on candidates that need numpy and nothing else.

A candidate is a plain mapping from the names of the decisions to their values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

Candidate = Mapping[str, Scalar]

STEMS = ("cifar", "imagenet")


@dataclass(frozen=True, slots=True)
class Choice:
    """One categorical decision.

    Attributes:
        values: at least two, all different.
    """

    name: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cell is stacked into: with the candidate it says everything about a network.

    Attributes:
        image_size: side in pixels of the square input.
        labels: number of logits.
        filters: channels of the first stage (F of a cell's operations, not of its concatenated
            output). For NASNet written "N @ P" this is P // 24: six concatenated states,
            doubled twice; 44 for NASNet-A (4 @ 1056).
        cells: normal cells in each of the three stages (N); `mbconv` searches its depth
            itself and ignores this.
        stem: `cifar` keeps the size of the image, `imagenet` shrinks it first.
        drop_path: probability with which ScheduledDropPath drops an operation of the last
            cell at the end of training; less before and in earlier cells.
        auxiliary: an auxiliary head in training (families that publish one); never counted.
        channels_in: of the image.
        stem_filters: channels of the first convolution; None for the family's own rule.

    Raises:
        InvalidSpecError: a size below one, an unknown stem, a probability outside [0, 1).
    """

    image_size: int
    labels: int
    filters: int
    cells: int
    stem: str = "cifar"
    drop_path: float = 0.0
    auxiliary: bool = False
    channels_in: int = 3
    stem_filters: int | None = None

    def __post_init__(self) -> None:
        sizes = {
            "image_size": self.image_size,
            "labels": self.labels,
            "filters": self.filters,
            "cells": self.cells,
            "channels_in": self.channels_in,
            "stem_filters": 1 if self.stem_filters is None else self.stem_filters,
        }
        for name, value in sizes.items():
            if value < 1:
                raise InvalidSpecError(f"{name} of a plan is {value}: it must be at least 1")
        if self.stem not in STEMS:
            raise InvalidSpecError(f"stem {self.stem!r} is none of {', '.join(STEMS)}")
        if not 0 <= self.drop_path < 1:
            raise InvalidSpecError(f"drop_path is {self.drop_path}: it must lie in [0, 1)")


@dataclass(frozen=True, slots=True)
class Counts:
    """The size of a network.

    Attributes:
        parameters: all trainable ones: weights, biases, scale and shift of batch
            normalisation (not its running statistics), without the auxiliary head.
        multiply_adds: of convolutions and the classifier for one image, a bias being one
            more for each output; normalisation, activations, pooling and additions are
            left out, as is usual in papers.
    """

    parameters: int
    multiply_adds: int


class Family(Protocol):
    """An architecture space. Every function is pure; none builds a network."""

    name: str

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The decisions in a fixed order; every combination of values is valid."""

    def validate(self, candidate: Candidate) -> None:
        """Check that `candidate` decides everything, with known values, and nothing else.

        Raises:
            InvalidSpecError: it does not.
        """

    def canonical(self, candidate: Candidate) -> str:
        """Return a text that is the same for isomorphic candidates.

        Isomorphic: the same function of the image for the right assignment of weights, so
        that they differ in training noise only. Cells that differ in function differ here.
        """

    def features(self, candidate: Candidate) -> NDArray[np.float32]:
        """Return float32 [d], d fixed, that predicts quality; equal for isomorphic cells."""

    def sample(self, rng: np.random.Generator) -> dict[str, Scalar]:
        """Draw every decision uniformly."""

    def neighbours(self, candidate: Candidate) -> Iterator[dict[str, Scalar]]:
        """Iterate over all candidates that differ in exactly one decision, in fixed order."""

    def mutate(self, candidate: Candidate, rng: np.random.Generator) -> dict[str, Scalar]:
        """Return a neighbour: one decision, drawn uniformly, set to another value."""

    def crossover(
        self, first: Candidate, second: Candidate, rng: np.random.Generator
    ) -> dict[str, Scalar]:
        """Return a child that takes each decision from either parent with equal chance."""

    def count(self, candidate: Candidate, plan: Plan) -> Counts:
        """Return exactly what the built network would have, by arithmetic alone."""

    def draw(self, candidate: Candidate) -> str:
        """Return a self-contained SVG of the cell or cells."""

    def to_json(self, candidate: Candidate) -> dict[str, Any]:
        """Return a document that `from_json` reads back to the same candidate."""

    def from_json(self, document: Mapping[str, Any]) -> dict[str, Scalar]:
        """Read a document of `to_json`.

        Raises:
            InvalidSpecError: it is of another format, version or family, or breaks a rule.
        """
