"""The verbs refuse what cannot be meant, in words a person can act on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import strandline
from strandline import compose
from strandline.compose import Platform
from strandline.spec.errors import (
    AlreadyExistsError,
    InvalidSpecError,
    NotFoundError,
    UnusableDataError,
)
from strandline.spec.settings import load_settings


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """A home with dataset `pets`: twelve pictures, one label."""
    rng = np.random.default_rng(0)
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    for number in range(12):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pets" / "cat" / f"{number}.png")
    place = compose.local(load_settings({"STRANDLINE_HOME": str(tmp_path / "home")}))
    strandline.import_dataset("pets", tmp_path / "pets", platform=place)
    return place


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: strandline.train("pets", budget="soon", platform=p), "a duration like 45s"),
        (lambda p: strandline.train("pets", budget="0s", platform=p), "must be above 0s"),
        (lambda p: strandline.train("pets", model="Not A Name", platform=p), "lower-case letters"),
        (lambda p: strandline.train("pets", max_error_rate=2.0, platform=p), "maxErrorRate|less"),
        (lambda p: strandline.import_dataset("a/b", "/", platform=p), "cannot be a name"),
        (lambda p: strandline.import_dataset("ok", "/", task="guess", platform=p), "task"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_meant(
    platform: Platform, call: Callable[[Platform], object], words: str
) -> None:
    with pytest.raises(InvalidSpecError, match=words):
        call(platform)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: strandline.train("absent", platform=p), "no dataset 'absent'"),
        (lambda p: strandline.resume_search("absent", platform=p), "absent"),
        (lambda p: strandline.evaluate("absent", platform=p), "no model 'absent'"),
        (lambda p: strandline.predict("absent", "x.png", platform=p), "no model 'absent'"),
        (lambda p: strandline.export("absent", out="/tmp/x", platform=p), "no model 'absent'"),
        (lambda p: strandline.import_dataset("x", "/no/such/folder", platform=p), "there is no"),
    ],
)
def test_what_is_not_there_is_named(
    platform: Platform, call: Callable[[Platform], object], words: str
) -> None:
    with pytest.raises(NotFoundError, match=words):
        call(platform)


def test_one_label_is_not_enough_and_the_name_is_not_used_up_for_another_search(
    platform: Platform,
) -> None:
    with pytest.raises(UnusableDataError, match="at least 2 labels"):
        strandline.train("pets", search="s", platform=platform)
    with pytest.raises(AlreadyExistsError, match="search resume s"):
        strandline.train("pets", search="s", seed=1, platform=platform)
    (listed,) = strandline.list_searches(platform=platform)
    assert (listed["name"], listed["state"]) == ("s", "Failed")
