"""What every architecture space keeps, as tests: subclass and say which one is yours.

class TestMyCells(CellFamilyContract):
    @pytest.fixture
    def family(self) -> Family:
        return MyCells()

A registered space is tested by its name: see tests/unit/cells/test_cell_families.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from strandline.cells.family import Candidate, Family, Plan
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar

PLAN = Plan(image_size=32, labels=10, filters=8, cells=2)
_SVG = "{http://www.w3.org/2000/svg}"


def differing(one: Candidate, other: Candidate) -> list[str]:
    """Return the names of the decisions in which two candidates differ."""
    return [name for name in one if one[name] != other[name]]


class CellFamilyContract:
    """The contract. `draws` is how many random candidates each test looks at, at the least."""

    draws = 40

    def sample(self, family: Family, count: int, seed: int = 0) -> list[dict[str, Scalar]]:
        """Draw candidates."""
        rng = np.random.default_rng(seed)
        return [family.sample(rng) for _ in range(count)]

    def test_decisions_have_names_of_their_own_and_values_to_choose_from(
        self, family: Family
    ) -> None:
        names = [choice.name for choice in family.choices]
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)
        for choice in family.choices:
            assert len(set(choice.values)) == len(choice.values) >= 2

    def test_samples_are_valid_and_follow_from_the_seed(self, family: Family) -> None:
        drawn = self.sample(family, self.draws)
        for candidate in drawn:
            family.validate(candidate)
            assert list(candidate) == [choice.name for choice in family.choices]
        assert drawn == self.sample(family, self.draws)
        assert drawn != self.sample(family, self.draws, seed=1)

    def test_every_value_is_drawn_now_and_then(self, family: Family) -> None:
        drawn = self.sample(family, 20 * self.draws)
        for choice in family.choices:
            assert {candidate[choice.name] for candidate in drawn} == set(choice.values)

    def test_an_undecided_unknown_or_impossible_decision_is_refused(self, family: Family) -> None:
        (candidate,) = self.sample(family, 1)
        name = family.choices[-1].name
        without = {key: value for key, value in candidate.items() if key != name}
        for wrong in (without, {**candidate, "colour": "red"}, {**candidate, name: "no such"}):
            with pytest.raises(InvalidSpecError):
                family.validate(wrong)

    def test_neighbours_differ_in_one_decision_and_are_all_there(self, family: Family) -> None:
        (candidate,) = self.sample(family, 1)
        neighbours = list(family.neighbours(candidate))
        for neighbour in neighbours:
            family.validate(neighbour)
            assert len(differing(candidate, neighbour)) == 1
        assert len({json.dumps(each) for each in neighbours}) == len(neighbours)
        assert len(neighbours) == sum(len(choice.values) - 1 for choice in family.choices)

    def test_a_mutation_changes_exactly_one_decision_and_can_change_any(
        self, family: Family
    ) -> None:
        (candidate,) = self.sample(family, 1)
        rng, changed = np.random.default_rng(0), set()
        before = dict(candidate)
        for _ in range(20 * len(family.choices)):
            mutated = family.mutate(candidate, rng)
            family.validate(mutated)
            (name,) = differing(candidate, mutated)
            changed.add(name)
        assert changed == {choice.name for choice in family.choices}
        assert candidate == before

    def test_a_child_takes_every_decision_from_a_parent(self, family: Family) -> None:
        first, second = self.sample(family, 2)
        rng, child = np.random.default_rng(0), dict[str, Scalar]()
        for _ in range(self.draws):
            child = family.crossover(first, second, rng)
            family.validate(child)
            assert all(child[name] in (first[name], second[name]) for name in child)
        assert child not in (first, second)
        assert family.crossover(first, first, rng) == first

    def test_the_order_in_which_decisions_are_written_means_nothing(self, family: Family) -> None:
        for candidate in self.sample(family, self.draws):
            turned = dict(reversed(candidate.items()))
            assert family.canonical(turned) == family.canonical(candidate)
            assert family.features(turned).tolist() == family.features(candidate).tolist()
            assert family.count(turned, PLAN) == family.count(candidate, PLAN)

    def test_features_are_as_many_for_all_and_equal_for_isomorphic_cells(
        self, family: Family
    ) -> None:
        drawn = self.sample(family, self.draws)
        drawn += [each for candidate in drawn[:4] for each in family.neighbours(candidate)]
        known: dict[str, list[float]] = {}
        for candidate in drawn:
            features = family.features(candidate)
            assert features.dtype == np.float32
            assert features.ndim == 1
            assert np.isfinite(features).all()
            same = known.setdefault(family.canonical(candidate), features.tolist())
            assert features.tolist() == same
        assert len({len(features) for features in known.values()}) == 1
        assert len({tuple(features) for features in known.values()}) > len(known) / 2

    def test_a_document_reads_back_as_the_same_candidate(self, family: Family) -> None:
        for candidate in self.sample(family, self.draws):
            document = json.loads(json.dumps(family.to_json(candidate)))
            assert family.from_json(document) == candidate

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "else"},
            {"version": 2},
            {"version": None},
            {"family": "else"},
            {"genotype": None},
            {"genotype": {}},
            {"extra": 1},
        ],
        ids=str,
    )
    def test_a_document_of_another_kind_is_refused(
        self, family: Family, change: Mapping[str, Any]
    ) -> None:
        (candidate,) = self.sample(family, 1)
        with pytest.raises(InvalidSpecError):
            family.from_json({**family.to_json(candidate), **change})

    def test_a_drawing_is_one_document_that_needs_nothing_else(self, family: Family) -> None:
        for candidate in self.sample(family, self.draws):
            drawing = family.draw(candidate)
            root = ElementTree.fromstring(drawing)  # noqa: S314 - our own text
            assert root.tag == f"{_SVG}svg"
            assert "href" not in drawing
            width, height = float(root.attrib["width"]), float(root.attrib["height"])
            for box in root.iter(f"{_SVG}rect"):
                assert 0 <= float(box.get("x", 0)) <= width
                assert float(box.get("x", 0)) + float(box.attrib["width"]) <= width
                assert float(box.get("y", 0)) <= height

    def test_more_filters_and_labels_make_a_larger_network(self, family: Family) -> None:
        for candidate in self.sample(family, self.draws):
            small = family.count(candidate, PLAN)
            wide = family.count(candidate, Plan(32, 10, 16, 2))
            many = family.count(candidate, Plan(32, 100, 8, 2))
            assert 0 < small.parameters < min(wide.parameters, many.parameters)
            assert 0 < small.multiply_adds < min(wide.multiply_adds, many.multiply_adds)
