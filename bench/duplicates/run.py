"""How many variants of a picture are found, and whether different pictures stay apart.

Run: `python bench/duplicates/run.py` (needs the development data; a minute).
"""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from strandline.data.duplicates import fingerprint, group_near_duplicates

Pixels = NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STRANDLINE_TEST_DATA", ROOT.parent / "shared" / "data"))
_EVERY = 4


def recompressed(quality: int) -> Callable[[Pixels], Pixels]:
    def change(pixels: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    return change


def resized(factor: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: np.asarray(ImageOps.scale(Image.fromarray(pixels), factor))


def brightened(factor: float) -> Callable[[Pixels], Pixels]:
    return lambda pixels: np.clip(pixels * factor, 0, 255).astype(np.uint8)


def cropped(share: float) -> Callable[[Pixels], Pixels]:
    """Cut off `share` of height and width, at a place that the picture decides."""

    def change(pixels: Pixels) -> Pixels:
        rng = np.random.default_rng(int(pixels[:, :, 0].sum()))
        height, width = (round(size * share) for size in pixels.shape[:2])
        top, left = rng.integers(0, height + 1), rng.integers(0, width + 1)
        rows, columns = pixels.shape[0] - height, pixels.shape[1] - width
        return pixels[top : top + rows, left : left + columns]

    return change


VARIANTS = {
    "JPEG quality 50": recompressed(50),
    "JPEG quality 70": recompressed(70),
    "JPEG quality 90": recompressed(90),
    "size × 0.5": resized(0.5),
    "size × 0.75": resized(0.75),
    "size × 2": resized(2.0),
    "brightness × 0.9": brightened(0.9),
    "brightness × 1.1": brightened(1.1),
    "crop 1%": cropped(0.01),
    "crop 2%": cropped(0.02),
    "crop 3%": cropped(0.03),
}


def read_sets() -> Iterator[tuple[str, list[Pixels]]]:
    if not DATA.is_dir():
        print("without the development data (STRANDLINE_TEST_DATA): digits only")
    else:
        yield from read_shared_sets()
    from sklearn.datasets import load_digits

    gray = np.round(load_digits().images * (255 / 16)).astype(np.uint8)
    yield "digits 8×8", [np.repeat(each[:, :, None], 3, axis=2) for each in gray]


def read_shared_sets() -> Iterator[tuple[str, list[Pixels]]]:
    files = sorted((DATA / "ucmerced").glob("*/*.jpg"))
    yield "UC Merced", [np.asarray(Image.open(file).convert("RGB")) for file in files]
    with zipfile.ZipFile(DATA / "cifar10.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        opened = (Image.open(io.BytesIO(archive.read(name))) for name in names)
        yield "CIFAR-10", [np.asarray(image.convert("RGB")) for image in opened]


def main() -> None:
    for name, images in read_sets():
        start = time.perf_counter()
        prints = [fingerprint(each) for each in images]
        made = time.perf_counter()
        groups = group_near_duplicates(prints)
        done = time.perf_counter()
        found = len({each for each in groups if each is not None})
        print(
            f"\n{name}: {len(images)} images, {found} groups; fingerprint "
            f"{1000 * (made - start) / len(images):.2f} ms, grouping {done - made:.2f} s"
        )
        print("\n| variant | found | different pictures joined |\n| --- | --- | --- |")
        for title, change in VARIANTS.items():
            report(title, images, prints, groups, change)


def report(
    title: str,
    images: list[Pixels],
    prints: list[bytes],
    before: list[int | None],
    change: Callable[[Pixels], Pixels],
) -> None:
    chosen = range(0, len(images), _EVERY)
    variants = [fingerprint(change(images[i])) for i in chosen]
    after = group_near_duplicates([*prints, *variants])
    pairs = list(zip(chosen, after[len(prints) :], strict=True))
    found = sum(group is not None and group == after[i] for i, group in pairs)
    others: dict[int, set[object]] = {}
    for i, group in [*enumerate(after[: len(prints)]), *pairs]:
        if group is not None:
            others.setdefault(group, set()).add(("own", i) if before[i] is None else before[i])
    wrong = sum(len(each) > 1 for each in others.values())
    print(f"| {title} | {found / len(pairs):.3f} | {wrong} |")


if __name__ == "__main__":
    main()
