"""Predicting files: one result each, in order, whatever they hold."""

import io
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strandline.bundle.runtime import Predictor
from strandline.data.decode import DecodeLimits, decode_image
from strandline.jobs.predict import predict_paths
from strandline.spec.errors import InvalidSpecError
from strandline.testing.bundles import make_bundle, make_pixels


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor(make_bundle(tmp_path_factory.mktemp("bundle") / "b"), threads=1)


def write_image(path: Path, seed: int = 0, side: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(make_pixels(seed, side, side)).save(path)
    return path


def test_results_come_in_the_order_asked_and_equal_the_models_own(
    predictor: Predictor, tmp_path: Path
) -> None:
    paths = [write_image(tmp_path / f"{n}.png", n) for n in (3, 1, 2)]
    results = list(predict_paths(predictor, paths, workers=2))
    expected = [
        predictor.predict(decode_image(path.read_bytes()).pixels, str(path)) for path in paths
    ]
    assert results == expected


def test_a_bad_image_has_its_reason_and_the_rest_goes_on(
    predictor: Predictor, tmp_path: Path
) -> None:
    good = write_image(tmp_path / "good.png")
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    (tmp_path / "empty.png").touch()
    absent, empty = tmp_path / "absent.png", tmp_path / "empty.png"
    names: list[str | Path] = [text, absent, empty, "a\x00b", good]
    results = list(predict_paths(predictor, names))
    assert [each.source for each in results] == [str(name) for name in names]
    assert [each.error is None for each in results] == [False] * 4 + [True]
    assert results[1].error == "no such file"
    assert all(not each.predictions and not each.abstained for each in results[:4])


def test_folders_are_searched_in_order_of_names(predictor: Predictor, tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.jpg", "a.png", ".hidden/x.png", "__MACOSX/x.png", "b/.x.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    sources = [each.source for each in predict_paths(predictor, [tmp_path])]
    assert [str(Path(each).relative_to(tmp_path)) for each in sources] == [
        "a.png",
        "b/1.jpg",
        "b/2.PNG",
    ]


def test_what_is_no_file_is_not_waited_for(predictor: Predictor, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")
    (result,) = predict_paths(predictor, [tmp_path / "pipe.png"])
    assert "not a file" in (result.error or "")


def test_an_image_may_come_from_standard_input(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_image(tmp_path / "x.png")
    stream = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    (result,) = predict_paths(predictor, ["-"])
    assert result == predictor.predict(decode_image(path.read_bytes()).pixels, "-")


def test_limits_hold_before_a_file_is_read(predictor: Predictor, tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(10**12)
    wide = write_image(tmp_path / "wide.png", side=64)
    limits = DecodeLimits(max_bytes=100_000, max_pixels=1000)
    tracemalloc.start()
    results = list(predict_paths(predictor, [tmp_path / "huge.png", wide], limits=limits))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(each.error for each in results)
    assert peak < 20_000_000


def test_decoding_runs_only_a_few_images_ahead(predictor: Predictor, tmp_path: Path) -> None:
    asked: list[Path] = []

    class Paths(list[Path]):
        def __iter__(self) -> Iterator[Path]:
            for number in range(100):
                asked.append(write_image(tmp_path / f"{number}.png", number))
                yield asked[-1]

    results = predict_paths(predictor, Paths(), workers=3)
    next(results)
    assert len(asked) <= 5
    results.close()  # type: ignore[attr-defined]  # a generator


def test_a_wrong_threshold_is_refused_before_anything_is_read(predictor: Predictor) -> None:
    with pytest.raises(InvalidSpecError, match="threshold"):
        predict_paths(predictor, ["absent"], threshold=2.0)


def test_images_of_any_size_get_scores(predictor: Predictor, tmp_path: Path) -> None:
    for number, shape in enumerate([(1, 1), (1, 3000), (700, 3)]):
        Image.fromarray(np.full((*shape, 3), 90, np.uint8)).save(tmp_path / f"{number}.png")
    assert [each.error for each in predict_paths(predictor, [tmp_path])] == [None] * 3
