"""Take a model away: a folder of files that need no Strandline.

Each file is there whole or not at all, and nothing that is there already is replaced
unless the caller says so.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from strandline.bundle.format import Bundle, open_bundle
from strandline.durable import sync_folder
from strandline.spec.errors import AlreadyExistsError, InvalidSpecError, MissingExtraError


class ExportFormat(StrEnum):
    """What a model can be exported as."""

    BUNDLE = "bundle"
    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    SAFETENSORS = "safetensors"


_NEEDED_FOR_TORCH = ("torch", "onnx", "safetensors")

_IMAGE = """\
import json, sys
import numpy as np
from PIL import Image, ImageOps
{imports}
labels = json.load(open("labels.json"))["labels"]
image = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
{scores}
for score, label in sorted(zip(scores[0].tolist(), labels), reverse=True)[:3]:
    print(f"{{label}} {{score:.4f}}")
"""
_EXAMPLES = {
    ExportFormat.ONNX: (
        "import onnxruntime",
        'model = onnxruntime.InferenceSession("model.onnx")\n'
        '(scores,) = model.run(["scores"], {"images": np.asarray(image)[None]})',
    ),
    ExportFormat.TORCHSCRIPT: (
        "import torch",
        'model = torch.jit.load("model.pt")\n'
        "scores = model(torch.from_numpy(np.array(image)[None]))",
    ),
    ExportFormat.SAFETENSORS: (
        "import torch\nfrom model import load",
        'scores = load("model.safetensors")(torch.from_numpy(np.array(image)[None]))',
    ),
}


def export_model(
    source: bytes,
    out: Path,
    format: str,  # noqa: A002 – the command line's own word
    *,
    overwrite: bool = False,
) -> Sequence[Path]:
    """Write a model to folder `out`, which is made when it is not there.

    Args:
        source: the bytes of a bundle.
        format: one of `ExportFormat`.
        overwrite: replace files of the same names.

    Returns:
        The files written.

    Raises:
        AlreadyExistsError: a file is there; nothing was written.
        CorruptArtifactError: the bundle is damaged.
        InvalidSpecError: there is no such format, or the model cannot be expressed in it.
        MissingExtraError: `torchscript` and `safetensors` need the `train` extra.
    """
    try:
        wanted = ExportFormat(format)
    except ValueError:
        known = ", ".join(ExportFormat)
        raise InvalidSpecError(f"unknown format {format!r}: choose one of {known}") from None
    bundle = open_bundle(source)
    files = (
        {f"{bundle.manifest.name}.bundle": source}
        if wanted is ExportFormat.BUNDLE
        else _make_files(bundle, wanted)
    )
    return _write_files(files, out, overwrite)


def _make_files(bundle: Bundle, wanted: ExportFormat) -> dict[str, bytes]:
    if wanted is ExportFormat.ONNX:
        made = {"model.onnx": bytes(bundle.graph)}
    else:
        _require_torch(wanted)
        from strandline.learn import export_torch

        if wanted is ExportFormat.TORCHSCRIPT:
            made = {"model.pt": export_torch.to_torchscript(bundle)}
        else:
            made = {
                "model.safetensors": export_torch.to_safetensors(bundle),
                "model.py": export_torch.module_source().encode(),
            }
    imports, scores = _EXAMPLES[wanted]
    return {
        **made,
        "labels.json": _labels(bundle),
        "card.md": bundle.card.encode(),
        "predict.py": _IMAGE.format(imports=imports, scores=scores).encode(),
    }


def _labels(bundle: Bundle) -> bytes:
    """Return labels and thresholds, in the order of the scores."""
    manifest = bundle.manifest
    content = {
        "labels": manifest.labels,
        "task": manifest.task.value,
        "answer_from_score": manifest.abstention.threshold,
        "label_thresholds": manifest.abstention.label_thresholds,
        "bundle": bundle.digest,
    }
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _require_torch(wanted: ExportFormat) -> None:
    missing = [name for name in _NEEDED_FOR_TORCH if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"exporting as {wanted} needs {', '.join(missing)}: "
            "run `pip install 'strandline[train]'`"
        )


def _write_files(files: Mapping[str, bytes], out: Path, overwrite: bool) -> list[Path]:
    targets = [out / name for name in files]
    there = [target.name for target in targets if target.exists() or target.is_symlink()]
    if there and not overwrite:
        raise AlreadyExistsError(
            f"{out} has {', '.join(there)} already: choose another folder, or say --force"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise AlreadyExistsError(f"{out} is a file: choose a folder") from None
    staging = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    try:
        for name, content in files.items():
            _write_through(staging / name, content)
        for target in targets:
            (staging / target.name).replace(target)
        sync_folder(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return targets


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
