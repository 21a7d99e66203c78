"""Spaces and the algorithms that draw from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, strategies as st

from strandline.search.algorithm import Algorithm, Observation
from strandline.search.random import RandomSearch
from strandline.search.registry import make_algorithm
from strandline.search.space import (
    Categorical,
    Condition,
    Float,
    Int,
    Parameter,
    Space,
    candidate_key,
    space_from_spec,
)
from strandline.search.tpe import TpeSearch
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar
from strandline.spec.search_space import Parameter as ParameterSpec

HEADS = Space(
    (
        Categorical("head", ("linear", "mlp", "kernel")),
        Float("strength", 1e-4, 1e2, log=True, when=Condition("head", ("linear", "kernel"))),
        Int("layers", 1, 3, when=Condition("head", ("mlp",))),
        Int("width", 16, 1024, log=True, when=Condition("head", ("mlp",))),
        Categorical("dropout", (True, False), when=Condition("layers", (2, 3))),
        Float("rate", 0.0, 0.5, when=Condition("dropout", (True,))),
    )
)
SMALL = Space(
    (
        Categorical("kind", ("a", "b")),
        Int("size", 2, 8, step=3, when=Condition("kind", ("b",))),
        Categorical("flag", (True, False)),
    )
)


def score_head(candidate: Mapping[str, Scalar]) -> float:
    """Score highest, 0, at an MLP of 2 layers, 128 units and dropout at 0.2."""
    if candidate["head"] != "mlp":
        strength = float(str(candidate["strength"]))
        return -1.0 - abs(math.log10(strength)) / 4 - (candidate["head"] == "kernel")
    width = abs(math.log2(int(str(candidate["width"])) / 128)) / 3
    layers = abs(int(str(candidate["layers"])) - 2)
    rate = candidate.get("rate")
    dropout = 0.5 if rate is None else 2 * abs(float(str(rate)) - 0.2)
    return -0.5 * (width + layers + dropout)


def best_of(algorithm: Algorithm, trials: int) -> float:
    """Run `trials` trials one after the other and return the best score."""
    best = -math.inf
    for number in range(trials):
        candidate = algorithm.suggest(number, ())
        assert candidate is not None
        HEADS.validate(candidate)
        best = max(best, score_head(candidate))
        algorithm.observe(Observation(number, candidate, score_head(candidate)))
    return best


# ---------------------------------------------------------------- spaces


@given(st.integers(0, 2**32 - 1))
def test_what_is_drawn_belongs_to_the_space_and_holds_no_inactive_parameter(seed: int) -> None:
    candidate = HEADS.sample(np.random.default_rng(seed))
    HEADS.validate(candidate)
    assert ("strength" in candidate) == (candidate["head"] != "mlp")
    assert ("width" in candidate) == ("layers" in candidate) == (candidate["head"] == "mlp")
    assert ("dropout" in candidate) == (candidate.get("layers") in (2, 3))
    assert ("rate" in candidate) == (candidate.get("dropout") is True)


@given(st.floats(0, 1), st.sampled_from(HEADS.parameters))
def test_every_point_of_the_unit_interval_maps_into_the_range(
    unit: float, parameter: Parameter
) -> None:
    assert parameter.allows(parameter.from_unit(unit))


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ({}, "lacks parameter 'head'"),
        ({"head": "tree"}, "'tree' is not in"),
        ({"head": "linear"}, "lacks parameter 'strength'"),
        ({"head": "linear", "strength": 1e3}, "not in"),
        ({"head": "linear", "strength": 1.0, "width": 16}, "width: no such parameter here"),
        ({"head": "mlp", "layers": 2.0, "width": 16}, "layers = 2.0 is not in"),
        ({"head": "mlp", "layers": True, "width": 16}, "layers = True is not in"),
        ({"head": "mlp", "layers": 2, "width": 16, "dropout": 1}, "dropout = 1 is not in"),
    ],
)
def test_a_candidate_of_another_space_is_refused(
    candidate: Mapping[str, Scalar], reason: str
) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        HEADS.validate(candidate)


def test_the_size_is_the_number_of_candidates_there_are() -> None:
    assert SMALL.size() == len(list(SMALL.list_candidates())) == 8  # (1 + 3) * 2
    assert HEADS.size() == math.inf


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ((Int("a", 1, 2), Int("a", 1, 2)), "twice"),
        ((Int("a", 1, 2, when=Condition("b", (1,))), Int("b", 1, 2)), "must stand before"),
        ((Int("a", 2, 1),), "low must not be above high"),
        ((Float("a", 0.0, 1.0, log=True),), "above 0 for log"),
        ((Float("a", math.nan, 1.0),), "low must not"),
        ((Categorical("a", ()),), "no values"),
        ((Int("a", 1, 9, step=0),), "step"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(
    parameters: tuple[Parameter, ...], reason: str
) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        Space(parameters)


def test_a_custom_space_may_name_its_parameters_in_any_order() -> None:
    written = [
        {"name": "c", "type": "float", "min": 0.1, "max": 1.0, "log": True,
         "when": {"parameter": "b", "values": ["2"]}},
        {"name": "b", "type": "int", "min": 1, "max": 3,
         "when": {"parameter": "a", "values": ["y"]}},
        {"name": "a", "type": "categorical", "values": ["x", "y"]},
    ]  # fmt: skip
    space = space_from_spec([ParameterSpec.model_validate(each) for each in written])
    assert [parameter.name for parameter in space.parameters] == ["a", "b", "c"]
    assert space.contains({"a": "x"})
    assert space.contains({"a": "y", "b": 1})
    assert space.contains({"a": "y", "b": 2, "c": 0.5})


def test_equal_candidates_share_a_key_whatever_their_order() -> None:
    assert candidate_key({"a": 1, "b": 2.5}) == candidate_key({"b": 2.5, "a": 1})
    assert candidate_key({"a": 1}) != candidate_key({"a": True})


# ---------------------------------------------------------------- registry


def test_an_unknown_algorithm_or_setting_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidSpecError, match="'magic': choose random, tpe"):
        make_algorithm("magic", SMALL, 0)
    with pytest.raises(InvalidSpecError, match="it has candidates, repeats, startup"):
        make_algorithm("tpe", SMALL, 0, {"depth": 3})


# ---------------------------------------------------------------- random, TPE


def test_random_search_draws_each_value_about_equally_often() -> None:
    search = RandomSearch(HEADS, seed=0)
    drawn = [search.suggest(number, ()) for number in range(600)]
    heads = Counter(str(candidate["head"]) for candidate in drawn if candidate)
    # 200 expected of each; 5 standard deviations are 58.
    assert all(abs(count - 200) < 58 for count in heads.values())
    logs = [math.log10(float(str(c["strength"]))) for c in drawn if c and "strength" in c]
    assert abs(float(np.mean(logs)) - -1.0) < 5 * (6 / math.sqrt(12)) / math.sqrt(len(logs))


def test_tpe_finds_better_candidates_than_random_search_in_a_conditional_space() -> None:
    seeds = range(8)
    random = [best_of(RandomSearch(HEADS, seed), 60) for seed in seeds]
    tpe = [best_of(TpeSearch(HEADS, seed), 60) for seed in seeds]
    assert float(np.mean(tpe)) > float(np.mean(random))
    assert sum(t > r for t, r in zip(tpe, random, strict=True)) >= 6


def test_tpe_is_random_search_until_it_has_seen_enough() -> None:
    tpe, random = TpeSearch(HEADS, seed=4, startup=5), RandomSearch(HEADS, seed=4)
    for number in range(5):
        candidate = tpe.suggest(number, ())
        assert candidate is not None
        assert candidate == random.suggest(number, ())
        tpe.observe(Observation(number, candidate, score_head(candidate)))
        random.observe(Observation(number, candidate, score_head(candidate)))
    assert tpe.suggest(5, ()) != random.suggest(5, ())
