"""Importances of functions whose importances are known."""

from __future__ import annotations

import numpy as np
import pytest

from strandline.search.importance import FEWEST, importances
from strandline.search.parameters import Categorical, Float, Parameter
from strandline.search.space import Candidate

PARAMETERS: list[Parameter] = [
    Float("strong", 0.0, 1.0),
    Categorical("weak", ("a", "b", "c")),
    Float("irrelevant", 0.0, 1.0),
]
WEAK = {"a": 0.0, "b": 0.3, "c": 0.6}


def draw(count: int, seed: int) -> tuple[list[Candidate], list[float]]:
    rng = np.random.default_rng(seed)
    candidates: list[Candidate] = [
        {
            "strong": float(rng.random()),
            "weak": str(rng.choice(["a", "b", "c"])),
            "irrelevant": float(rng.random()),
        }
        for _ in range(count)
    ]
    values = [3 * float(str(c["strong"])) + WEAK[str(c["weak"])] for c in candidates]
    return candidates, values


@pytest.mark.parametrize("seed", range(5))
def test_choices_come_in_the_order_of_what_they_decide(seed: int) -> None:
    strong, weak, irrelevant = importances(PARAMETERS, *draw(400, seed))
    assert [strong.name, weak.name, irrelevant.name] == ["strong", "weak", "irrelevant"]
    assert strong.share > 0.7
    assert irrelevant.share < 0.03
    assert all(e.low <= e.share <= e.high for e in (strong, weak, irrelevant))


def test_which_way_is_better_and_how_values_are_scaled_make_no_difference() -> None:
    candidates, values = draw(200, 1)
    turned = [-(value**3) for value in values]
    shares = {e.name: e.share for e in importances(PARAMETERS, candidates, values)}
    for each in importances(PARAMETERS, candidates, turned):
        assert each.share == pytest.approx(shares[each.name], abs=1e-9)


def test_an_interval_narrows_as_trials_come_in() -> None:
    few, many = (importances(PARAMETERS, *draw(count, 2))[0] for count in (40, 2000))
    assert many.high - many.low < few.high - few.low


def test_a_conditional_choice_is_judged_among_the_trials_that_had_it() -> None:
    rng = np.random.default_rng(3)
    candidates: list[Candidate] = []
    values = []
    for number in range(300):
        inner = float(rng.random())
        candidates.append({"kind": "on", "inner": inner} if number % 3 == 0 else {"kind": "off"})
        values.append(inner if number % 3 == 0 else 0.5)
    found = importances(
        [Categorical("kind", ("on", "off")), Float("inner", 0.0, 1.0)], candidates, values
    )
    inner_one = next(each for each in found if each.name == "inner")
    assert inner_one.trials == 100
    assert inner_one.share > 0.8


def test_choices_that_cannot_be_judged_are_left_out() -> None:
    candidates, values = draw(FEWEST - 1, 4)
    assert importances(PARAMETERS, candidates, values) == []
    assert importances(PARAMETERS, [], []) == []
    same: list[Candidate] = [{"weak": "a"}] * 100
    assert importances(PARAMETERS[1:2], same, list(range(100))) == []


def test_equal_values_leave_nothing_to_explain() -> None:
    candidates, _ = draw(50, 5)
    assert {e.share for e in importances(PARAMETERS, candidates, [1.0] * 50)} == {0.0}
