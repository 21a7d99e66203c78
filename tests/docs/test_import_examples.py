"""The examples of the import page are imported as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import strandline
from strandline import compose
from strandline.data.versions import read_items
from strandline.spec.records import Split
from strandline.spec.settings import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "import.md"
EXAMPLES = re.findall(r"```(csv|jsonl|json)\n(.*?)```", PAGE.read_text("utf-8"), re.S)
EXPECTED = [
    [("cat",), ("dog",), ("cat",), ("dog",), None],
    [("cat", "indoors"), ("dog",), None],
    [("cat",), ("dog", "indoors"), ("cat",)],
    [("cat",), ("dog",)],
]
SPLITS = [
    [Split.TRAIN, Split.VALIDATION, Split.TEST, None, None],
    [Split.TRAIN, Split.TEST, Split.TRAIN],
    [Split.TRAIN, None, Split.TEST],
    [None, None],
]


@pytest.mark.parametrize("number", range(4))
def test_an_example_gives_the_labels_and_splits_it_states(number: int, tmp_path: Path) -> None:
    assert len(EXAMPLES) == 4
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate("abcde"):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    suffix, text = EXAMPLES[number]
    table = tmp_path / f"table.{suffix}"
    table.write_text(text, "utf-8")
    place = compose.local(load_settings({"STRANDLINE_HOME": str(tmp_path / "home")}))
    report = strandline.import_dataset("pets", table, platform=place)
    assert report.refused == ()
    version = place.catalog.get_dataset_version("pets")
    items = sorted(read_items(place.store, version), key=lambda item: item.sources[0][-5:])
    assert [item.labels for item in items] == EXPECTED[number]
    assert [item.split for item in items] == SPLITS[number]
    groups = [item.group for item in items]
    assert len(set(groups)) == (2 if "house-2" in text else 1 + ("house-1" in text))
