"""Exports: complete folders whose example runs and gives the bundle's scores."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strandline.bundle.runtime import Predictor
from strandline.jobs import export as export_job
from strandline.jobs.export import ExportFormat, export_model
from strandline.spec.errors import (
    AlreadyExistsError,
    CorruptArtifactError,
    InvalidSpecError,
    MissingExtraError,
)
from strandline.spec.records import Task
from strandline.testing.bundles import finish, make_bundle, make_graph, make_pixels

EXPECTED = {
    "bundle": {"coast.bundle"},
    "onnx": {"model.onnx", "labels.json", "card.md", "predict.py"},
    "torchscript": {"model.pt", "labels.json", "card.md", "predict.py"},
    "safetensors": {"model.safetensors", "model.py", "labels.json", "card.md", "predict.py"},
}


@pytest.fixture(scope="module", params=list(Task))
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = make_bundle(tmp_path_factory.mktemp("bundle") / "b", request.param)
    return path.read_bytes()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("wanted", list(ExportFormat))
def test_a_folder_is_complete(bundle: bytes, wanted: str, tmp_path: Path) -> None:
    written = export_model(bundle, tmp_path / "new" / "out", wanted)
    assert names(tmp_path / "new" / "out") == EXPECTED[wanted]
    assert {path.name for path in written} == EXPECTED[wanted]


@pytest.mark.parametrize("wanted", ["onnx", "torchscript", "safetensors"])
def test_the_example_in_the_folder_gives_the_bundles_scores(
    bundle: bytes, wanted: str, tmp_path: Path
) -> None:
    export_model(bundle, tmp_path, wanted)
    pixels = make_pixels(9, 70, 50)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "predict.py", "photo.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    printed = {label: float(score) for label, score in re.findall(r"(\S+) (\S+)", done.stdout)}
    predictor = Predictor(bundle)
    expected = dict(zip(predictor.labels, predictor.scores(pixels).tolist(), strict=True))
    assert printed == pytest.approx(expected, abs=2e-3)


def test_an_exported_bundle_is_the_bundle(bundle: bytes, tmp_path: Path) -> None:
    (path,) = export_model(bundle, tmp_path, "bundle")
    assert path.read_bytes() == bundle


def test_nothing_is_replaced_unless_told(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("mine")
    with pytest.raises(AlreadyExistsError, match=r"card\.md.*--force"):
        export_model(bundle, tmp_path, "onnx")
    assert names(tmp_path) == {"card.md"}
    assert (tmp_path / "card.md").read_text() == "mine"
    export_model(bundle, tmp_path, "onnx", overwrite=True)
    assert (tmp_path / "card.md").read_text() == "# coast\n"
    assert names(tmp_path) == EXPECTED["onnx"]


def test_a_file_in_the_folders_place_is_named(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(AlreadyExistsError, match="is a file"):
        export_model(bundle, tmp_path / "out", "onnx")


def test_links_are_not_written_through(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "card.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyExistsError):
        export_model(bundle, tmp_path / "out", "onnx")
    export_model(bundle, tmp_path / "out", "onnx", overwrite=True)
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_unknown_formats_and_damaged_bundles_are_refused(bundle: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="choose one of bundle, onnx"):
        export_model(bundle, tmp_path, "pickle")
    with pytest.raises(CorruptArtifactError, match="damaged"):
        export_model(bundle[:-1], tmp_path, "bundle")
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(
    bundle: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_job, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"strandline\[train\]"):
        export_model(bundle, tmp_path, "torchscript")


def test_a_graph_that_torch_cannot_express_is_named(tmp_path: Path) -> None:
    model = make_graph()
    model.graph.node[-1].op_type = "LogSoftmax"
    path = make_bundle(tmp_path / "b", graph=model.SerializeToString())
    with pytest.raises(InvalidSpecError, match=r"LogSoftmax.*export it as `onnx`"):
        export_model(path.read_bytes(), tmp_path / "out", "safetensors")
    assert export_model(path.read_bytes(), tmp_path / "out", "onnx")


def test_a_model_without_resizing_can_be_exported(tmp_path: Path) -> None:
    model = make_graph()
    nodes = [node for node in model.graph.node if node.op_type != "Resize"]
    nodes[0].input[0] = "images"
    from onnx import numpy_helper

    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    graph = finish(nodes, {k: np.array(v) for k, v in constants.items()}, 3).SerializeToString()
    path = make_bundle(tmp_path / "b", graph=graph)
    assert export_model(path.read_bytes(), tmp_path / "out", "torchscript")
