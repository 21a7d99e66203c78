"""Importing again: what changed, or may have been the machine's fault, is tried again."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import strandline
from strandline import compose
from strandline.compose import Platform
from strandline.data.decode_process import DecodeProcess
from strandline.data.versions import read_items
from strandline.spec.settings import load_settings
from strandline.spec.v1alpha1 import ImportLimits


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return compose.local(load_settings({"STRANDLINE_HOME": str(tmp_path / "home")}))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What decoding processes are given."""
    images: list[bytes] = []
    give = DecodeProcess.give

    def noting(self: DecodeProcess, data: bytes) -> None:
        images.append(data)
        give(self, data)

    monkeypatch.setattr(DecodeProcess, "give", noting)
    return images


def bitmap(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()


def test_an_image_that_took_too_long_is_tried_again(
    platform: Platform, tmp_path: Path, given: list[bytes]
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    # A few kilobytes that take seconds: all alpha of 50 megapixels is laid over white.
    Image.new("RGBA", (7000, 7000)).save(source / "slow.png")
    (source / "good.bmp").write_bytes(bitmap(0))
    limits = ImportLimits(timeout_seconds=0.5)
    for _ in range(2):
        report = strandline.import_dataset("cats", source, limits=limits, platform=platform)
        assert [(each.source, each.code) for each in report.refused] == [("slow.png", "Timeout")]
    assert given.count((source / "slow.png").read_bytes()) == 2
    assert given.count(bitmap(0)) == 1


def test_a_damaged_image_is_not_tried_again(
    platform: Platform, tmp_path: Path, given: list[bytes]
) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    (source / "damaged.bmp").write_bytes(bitmap(1)[:500])
    (source / "good.bmp").write_bytes(bitmap(0))
    first, again = (
        strandline.import_dataset("cats", source, platform=platform).refused for _ in range(2)
    )
    assert first == again
    assert [(each.source, each.code) for each in first] == [("damaged.bmp", "Undecodable")]
    assert given.count(bitmap(1)[:500]) == 1


def test_a_file_in_the_place_of_another_of_its_size_and_time_is_noticed(
    platform: Platform, tmp_path: Path
) -> None:
    source = tmp_path / "pictures" / "cat"
    source.mkdir(parents=True)
    file = source / "a.bmp"
    for seed in (1, 2):
        file.unlink(missing_ok=True)
        file.write_bytes(bitmap(seed))
        os.utime(file, (0, 0))  # as unpacked from a reproducible archive
        report = strandline.import_dataset("cats", source.parent, platform=platform)
        version = platform.catalog.get_dataset_version("cats")
        (item,) = read_items(platform.store, version)
        assert platform.store.get(item.image) == bitmap(seed)
    assert report.version == 2
