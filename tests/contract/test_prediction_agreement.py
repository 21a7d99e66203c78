"""One bundle, four ways to ask it, the same scores: the contract of `predict`."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

import strandline
from strandline.bundle.runtime import Predictor
from strandline.cli.main import main
from strandline.data.decode import decode_image
from strandline.spec.records import Task
from strandline.testing.bundles import make_bundle, make_pixels

CONTRACT = {"source", "predictions", "abstained", "error"}


@pytest.fixture(params=list(Task))
def bundle(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STRANDLINE_HOME", str(tmp_path / "home"))
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        pixels = make_pixels(seed, 40 + seed, 60)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{seed}.jpg")
    (tmp_path / "photos" / "3.jpg").write_bytes(b"no picture")
    return make_bundle(tmp_path / "coast.bundle", request.param)


def by_command(bundle: Path, folder: Path) -> list[dict[str, object]]:
    result = CliRunner().invoke(main, ["predict", str(bundle), str(folder), "-o", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    return list(found)


def test_command_api_predictor_and_plain_onnxruntime_agree(bundle: Path) -> None:
    folder = bundle.parent / "photos"
    printed = by_command(bundle, folder)
    assert all(set(each) == CONTRACT for each in printed)
    called = [each.model_dump(mode="json") for each in strandline.predict(str(bundle), folder)]
    assert printed == called
    assert [Path(str(each["source"])).name for each in printed] == [f"{n}.jpg" for n in range(4)]
    assert [each["error"] is None for each in printed] == [True, True, True, False]

    with zipfile.ZipFile(bundle) as archive:
        labels = json.loads(archive.read("manifest.json"))["labels"]
        session = onnxruntime.InferenceSession(archive.read("model.onnx"))
    predictor = Predictor(bundle)
    for number, result in enumerate(called[:3]):
        pixels = decode_image((folder / f"{number}.jpg").read_bytes()).pixels
        (plain,) = session.run(["scores"], {"images": pixels[None]})
        np.testing.assert_allclose(predictor.scores(pixels), plain[0], atol=1e-6)
        scores = dict(zip(labels, plain[0].tolist(), strict=True))
        for given in result["predictions"]:
            assert given["score"] == pytest.approx(scores[given["label"]], abs=1e-6)


def test_a_damaged_bundle_is_refused_by_the_command_with_the_reason(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(bytes(data))
    result = CliRunner().invoke(main, ["predict", str(bundle), str(bundle.parent / "photos")])
    assert result.exit_code == 8
    assert "damaged" in result.stderr
    assert not result.stdout
