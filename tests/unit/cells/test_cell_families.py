"""The contract of architecture spaces over every one that is registered, and the registry."""

from __future__ import annotations

import pytest

from strandline.cells.family import Family, Plan
from strandline.cells.registry import FAMILIES, family as family_named
from strandline.spec.errors import InvalidSpecError
from strandline.testing.cell_family_contract import CellFamilyContract


@pytest.mark.parametrize("name", FAMILIES)
class TestRegisteredFamilies(CellFamilyContract):
    @pytest.fixture
    def family(self, name: str) -> Family:
        return family_named(name)

    def test_it_is_called_what_it_is_registered_as(self, family: Family, name: str) -> None:
        assert family.name == name


def test_an_unknown_space_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidSpecError, match="nasbench201, nasnet, darts, mbconv"):
        family_named("enas")


def test_a_truth_value_is_no_number() -> None:
    space = family_named("mbconv")
    from strandline.cells.mbconv import MOBILENET_V2

    for name, value in (("stage_0_depth", True), ("stage_0_excite", 0)):
        with pytest.raises(InvalidSpecError):
            space.validate({**MOBILENET_V2, name: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"image_size": 0},
        {"labels": 0},
        {"filters": -1},
        {"cells": 0},
        {"stem": "mnist"},
        {"drop_path": 1.0},
        {"stem_filters": 0},
    ],
    ids=str,
)
def test_a_plan_that_makes_no_network_is_refused(fields: dict[str, object]) -> None:
    sound: dict[str, object] = {"image_size": 32, "labels": 10, "filters": 16, "cells": 1}
    with pytest.raises(InvalidSpecError):
        Plan(**{**sound, **fields})  # type: ignore[arg-type]
