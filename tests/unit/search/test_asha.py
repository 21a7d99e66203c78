"""ASHA's decisions, computed by hand from the rule of Li et al. 2020 (arXiv 1810.05934)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from strandline.search.asha import Asha
from strandline.search.registry import make_scheduler
from strandline.search.scheduler import NoEarlyStopping
from strandline.spec.errors import InvalidSpecError


def decisions(asha: Asha, step: int, values: Sequence[float]) -> list[bool]:
    """Let trial 0, 1, … reach `step` with these values, one after the other."""
    return [asha.decide(number, step, value) for number, value in enumerate(values)]


def test_a_trial_goes_on_while_it_is_in_the_best_share_of_its_rung() -> None:
    # eta 2. Seen so far, best first, and how many go on: [5] all; [6 5] 1; [6 5 4] 1;
    # [6 5.5 5 4] 2; [6 5.5 5 4 1] 2; [9 6 5.5 5 4 1] 3.
    values = [5.0, 6.0, 4.0, 5.5, 1.0, 9.0]
    assert decisions(Asha(eta=2), 1, values) == [True, True, False, True, False, True]


def test_a_third_goes_on_with_eta_three() -> None:
    # The ninth is the third best of nine: with eta 3 exactly three are promoted.
    values = [1.0, 2.0, 0.5, 3.0, 2.5, 2.2, 0.1, 0.2, 2.4]
    expected = [True, True, False, True, False, False, False, False, True]
    assert decisions(Asha(eta=3), 1, values) == expected


def test_all_go_on_until_as_many_were_seen_as_one_is_chosen_from() -> None:
    assert decisions(Asha(eta=4), 1, [3.0, 2.0, 1.0, 0.0]) == [True, True, True, False]


def test_equals_at_the_border_go_on() -> None:
    assert decisions(Asha(eta=2), 1, [1.0, 1.0, 1.0]) == [True, True, True]


@pytest.mark.parametrize(
    ("eta", "grace", "rungs"),
    [(3, 1, [1, 3, 9, 27]), (2, 2, [2, 4, 8, 16]), (4, 3, [3, 12]), (1.5, 2, [2, 3, 4, 7, 10])],
)
def test_rungs_lie_at_the_grace_times_powers_of_eta(
    eta: float, grace: int, rungs: list[int]
) -> None:
    asha = Asha(eta=eta, grace=grace)
    for step in range(1, rungs[-1] + 1):
        for number in range(20):
            asha.decide(number, step, 1.0)
    # Only at a rung does a bad value end a trial.
    judged = [step for step in range(1, rungs[-1] + 1) if not asha.decide(20, step, -1.0)]
    assert judged == rungs


def test_each_rung_is_judged_by_those_that_reached_it() -> None:
    asha = Asha(eta=2)
    decisions(asha, 1, [9.0, 8.0, 7.0, 6.0])
    assert asha.decide(2, 2, 0.1)  # the first of its rung, however bad


def test_telling_a_step_again_changes_nothing() -> None:
    once, twice = Asha(eta=2), Asha(eta=2)
    values = [5.0, 6.0, 4.0, 5.5]
    decisions(once, 1, values)
    decisions(twice, 1, values)
    decisions(twice, 1, values)
    assert [once.decide(9, 1, value) for value in (5.4, 5.6)] == [
        twice.decide(9, 1, value) for value in (5.4, 5.6)
    ]


def test_without_early_stopping_every_trial_goes_on() -> None:
    assert NoEarlyStopping().decide(0, 1, -math.inf)


@pytest.mark.parametrize("settings", [{"eta": 1.0}, {"eta": math.nan}, {"grace": 0}, {"eta": "x"}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float | str]) -> None:
    with pytest.raises(InvalidSpecError, match="asha"):
        make_scheduler("asha", settings)


def test_an_unknown_name_or_setting_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidSpecError, match="'mean': choose none, asha, hyperband, median"):
        make_scheduler("mean")
    with pytest.raises(InvalidSpecError, match="no setting 'etta': it has eta, grace"):
        make_scheduler("asha", {"etta": 3.0})
