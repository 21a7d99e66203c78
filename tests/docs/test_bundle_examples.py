"""The code in the bundle's page runs as it stands, and gives Strandline's own scores."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from strandline.bundle.runtime import Predictor
from strandline.data.decode import decode_image
from strandline.spec.records import Task
from strandline.testing.bundles import make_bundle, make_pixels

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "bundle.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)


def run(code: str) -> list[list[str]]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    return [line.split() for line in printed.getvalue().splitlines()]


@pytest.fixture(params=list(Task))
def predictor(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Predictor:
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(make_pixels(5, 60, 80)).save("photo.jpg", exif=exif)
    return Predictor(make_bundle(tmp_path / "coast.bundle", request.param))


def test_the_ten_lines_give_the_scores_that_strandline_gives(predictor: Predictor) -> None:
    assert len(EXAMPLES[0].splitlines()) == 10
    assert "strandline" not in EXAMPLES[0]
    scores = predictor.scores(decode_image(Path("photo.jpg").read_bytes()).pixels)
    ranked = sorted(zip(scores.tolist(), predictor.labels, strict=True), reverse=True)
    assert run(EXAMPLES[0]) == [[label, f"{score:.4f}"] for score, label in ranked]


def test_the_lines_with_strandline_answer(predictor: Predictor) -> None:
    found = predictor.predict(decode_image(Path("photo.jpg").read_bytes()).pixels)
    labels = [given.label for given in found.predictions]
    assert run(EXAMPLES[1]) == [f"photo.jpg {labels} {found.abstained}".split()]


def test_every_example_is_run() -> None:
    assert len(EXAMPLES) == 2
