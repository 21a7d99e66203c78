"""Near-duplicates: variants of one picture are found, alike pictures stay apart."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from PIL import Image

from strandline.data import similar_pairs
from strandline.data.duplicates import FINGERPRINT_BYTES, fingerprint, group_near_duplicates

Pixels = NDArray[np.uint8]

DATA = Path(os.environ.get("STRANDLINE_TEST_DATA", "../shared/data"))


def scene(seed: int, side: int = 160) -> Pixels:
    """A picture whose amplitudes fall as 1/f, as those of natural scenes do."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    falloff = 1 / np.maximum(frequency, 1 / side)
    layers = [np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * falloff).real]
    layers += [0.3 * layers[0] + 0.2 * rng.normal(size=(side, side)) for _ in range(2)]
    stacked = np.stack(layers, axis=2)
    return np.asarray(np.clip(128 + 40 * stacked / stacked.std(), 0, 255), dtype=np.uint8)


def recompressed(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(pixels: Pixels, factor: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def brightened(pixels: Pixels, factor: float) -> Pixels:
    return np.clip(pixels.astype(np.float64) * factor, 0, 255).astype(np.uint8)


def groups_of(*images: Pixels) -> list[int | None]:
    return group_near_duplicates([fingerprint(each) for each in images])


@pytest.mark.parametrize("quality", [50, 70, 90])
def test_a_recompressed_picture_is_a_near_duplicate(quality: int) -> None:
    assert groups_of(scene(1), scene(2), recompressed(scene(1), quality)) == [0, None, 0]


@pytest.mark.parametrize("factor", [0.5, 0.75, 2.0])
def test_a_resized_picture_is_a_near_duplicate(factor: float) -> None:
    assert groups_of(scene(1), scene(2), resized(scene(1), factor)) == [0, None, 0]


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_brighter_or_darker_picture_is_a_near_duplicate(factor: float) -> None:
    assert groups_of(scene(1), brightened(scene(1), factor)) == [0, 0]


def test_a_picture_cropped_by_a_hundredth_is_a_near_duplicate() -> None:
    assert groups_of(scene(1), scene(1)[1:-1, 0:-2]) == [0, 0]


def test_mirrored_negative_and_tinted_pictures_are_other_pictures() -> None:
    picture = scene(3)
    tinted = picture.copy()
    tinted[:, :, 2] = tinted[:, :, 2] // 3
    assert groups_of(picture, picture[:, ::-1], 255 - picture, tinted) == [None] * 4


def test_blank_pictures_are_near_duplicates_only_when_equal() -> None:
    white, nearly = np.full((40, 60, 3), 255, np.uint8), np.full((40, 60, 3), 254, np.uint8)
    assert groups_of(white, nearly, white.copy(), white[:20]) == [0, None, 0, None]


def test_plain_gradients_of_other_direction_stay_apart() -> None:
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], 120, axis=0)
    across = np.repeat(ramp, 3, axis=2)
    assert groups_of(across, across.transpose(1, 0, 2), across[:, ::-1]) == [None] * 3


@pytest.mark.parametrize("side", [8, 16, 32, 40])
@pytest.mark.parametrize("filter_", [Image.Resampling.NEAREST, Image.Resampling.BICUBIC])
def test_low_resolution_digits_stay_apart_at_any_size(side: int, filter_: Image.Resampling) -> None:
    from sklearn.datasets import load_digits

    gray = np.round(load_digits().images[:600] * (255 / 16)).astype(np.uint8)
    prints = [
        fingerprint(np.asarray(Image.fromarray(each).resize((side, side), filter_).convert("RGB")))
        for each in gray
    ]
    assert len(set(prints)) == len(prints)
    assert group_near_duplicates(prints) == [None] * len(prints)


def test_likeness_is_passed_on_within_a_group() -> None:
    first = scene(5)
    chain = [first, brightened(first, 0.85), brightened(first, 0.72), brightened(first, 0.62)]
    assert groups_of(first, chain[3]) == [None, None]
    assert groups_of(*chain) == [0, 0, 0, 0]


@given(order=st.permutations(range(8)))
def test_groups_do_not_depend_on_the_order_of_images(order: list[int]) -> None:
    images = [scene(s, 48) for s in range(4)] + [recompressed(scene(s, 48), 80) for s in range(4)]
    found = groups_of(*(images[i] for i in order))
    partners = {
        frozenset(i % 4 for i, g in zip(order, found, strict=True) if g == n) for n in found
    }
    assert partners == {frozenset({s}) for s in range(4)}
    assert list(dict.fromkeys(found)) == [0, 1, 2, 3]


def test_hashing_finds_what_comparing_all_pairs_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [scene(s, 48) for s in range(150)]
    prints = [fingerprint(p) for p in originals]
    prints += [fingerprint(recompressed(p, 60)) for p in originals]
    every_pair = group_near_duplicates(prints)
    monkeypatch.setattr(similar_pairs, "_ALL_PAIRS_UPTO", 10)
    assert group_near_duplicates(prints) == every_pair == [*range(150), *range(150)]


def test_a_fingerprint_is_small_fixed_and_canonical() -> None:
    assert {len(fingerprint(scene(1, side))) for side in (16, 160)} == {FINGERPRINT_BYTES}
    assert fingerprint(scene(1)) == fingerprint(np.asfortranarray(scene(1)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (3, 5000), (2000, 1)])
def test_odd_shapes_have_a_fingerprint(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert groups_of(pixels, pixels.copy()) == [0, 0]


def test_no_images_have_no_groups_and_rubbish_is_refused() -> None:
    assert group_near_duplicates([]) == []
    with pytest.raises(ValueError, match="bytes"):
        group_near_duplicates([b"short"])
    with pytest.raises(ValueError, match="uint8"):
        fingerprint(np.zeros((4, 4), np.uint8))


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "hostile").is_dir(), reason=f"no development data in {DATA}")
def test_the_same_pixels_in_two_formats_are_near_duplicates() -> None:
    names = ("pixels-equal-a.png", "pixels-equal-b.bmp", "good-red.jpg")
    images = [np.asarray(Image.open(DATA / "hostile/images" / n).convert("RGB")) for n in names]
    assert groups_of(*images) == [0, 0, None]


@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "ucmerced").is_dir(), reason=f"no development data in {DATA}")
def test_scenes_of_one_class_stay_apart_but_for_the_known_duplicate() -> None:
    files = [
        f
        for c in ("airplane", "beach", "runway")
        for f in sorted((DATA / "ucmerced" / c).iterdir())
    ]
    found = groups_of(*(np.asarray(Image.open(f).convert("RGB")) for f in files))
    assert [f.name for f, g in zip(files, found, strict=True) if g is not None] == [
        "airplane01.jpg",
        "airplane02.jpg",
    ]
