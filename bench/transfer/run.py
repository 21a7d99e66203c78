"""What each first candidate of the transfer preset is worth, and costs, on several sets.

Cross-validated on training images only: this is where the order of the candidates and the
defaults of the heads come from. Run `python bench/transfer/run.py digits ucmerced cifar`.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from strandline.adapters.files import FileStore
from strandline.learn.recipe import read_parts
from strandline.learn.transfer import TransferFactory
from strandline.learn.transfer_data import FOLDS, TransferData
from strandline.learn.transfer_space import default_candidates
from strandline.ports import Assignment
from strandline.spec.records import Scalar, Task
from strandline.zoo.backbones import EFFORTS, names

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("STRANDLINE_TEST_DATA", ROOT.parent / "shared" / "data"))
Labeled = Iterator[tuple[bytes, str]]


def digits(shared: Path, most: int) -> Labeled:
    from sklearn.datasets import load_digits

    sets = load_digits()
    for pixels, label in zip(sets.images, sets.target, strict=True):
        stream = io.BytesIO()
        Image.fromarray((pixels * 255 / 16).astype(np.uint8)).save(stream, "PNG")
        yield stream.getvalue(), str(label)


def ucmerced(shared: Path, most: int) -> Labeled:
    with (shared / "ucmerced.csv").open() as stream:
        for row in csv.DictReader(stream):
            if row["split"] == "train":
                yield (shared / "ucmerced" / row["file"]).read_bytes(), row["label"]


def cifar(shared: Path, most: int) -> Labeled:
    """Give the first images of each class of the training part."""
    with zipfile.ZipFile(shared / "cifar10.zip") as archive:
        for name in sorted(archive.namelist()):
            part, label, file = [*name.split("/"), "", ""][:3]
            if part == "train" and file.endswith(".jpg") and int(file[:4]) < most // 10:
                yield archive.read(name), label


SETS: dict[str, Callable[[Path, int], Labeled]] = {
    "digits": digits,
    "ucmerced": ucmerced,
    "cifar": cifar,
}


def load(name: str, shared: Path, home: Path, most: int) -> TransferData:
    store = FileStore(home / "store")
    labeled = list(dict(SETS[name](shared, most)).items())
    if len(labeled) > most:
        chosen = np.random.default_rng(0).permutation(len(labeled))[:most]
        labeled = [labeled[index] for index in chosen]
    labels = tuple(sorted({label for _, label in labeled}))
    targets = np.array([labels.index(label) for _, label in labeled])
    order = np.lexsort((np.random.default_rng(1).random(len(targets)), targets))
    folds = np.empty(len(targets), np.int64)
    folds[order] = np.arange(len(targets)) % FOLDS
    return TransferData(
        images=tuple(store.put(content) for content, _ in labeled),
        targets=targets,
        folds=folds,
        task=Task.MULTICLASS,
        labels=labels,
        open_store=partial(FileStore, home / "store"),
        cache_dir=home / "cache",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=["digits"], choices=list(SETS))
    parser.add_argument("--effort", choices=EFFORTS, default="balanced")
    parser.add_argument("--images", type=int, default=1800)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--shared", type=Path, default=SHARED)
    options = parser.parse_args()
    print("| set | backbones | views | resolution | head | top-1 | log loss | embed s | fit s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.sets:
        with tempfile.TemporaryDirectory(prefix="bench-transfer-") as home:
            data = load(name, options.shared, Path(home), options.images)
            ladder = default_candidates(options.effort, names(options.effort), data.task)
            for candidate in ladder[: options.candidates]:
                run(name, data, candidate)


def run(name: str, data: TransferData, candidate: Mapping[str, Scalar]) -> None:
    started = time.perf_counter()
    if "backbones" in candidate:
        data.loader.load_means(data.images, read_parts(candidate, data.cache_dir))
    embedded = time.perf_counter()
    trainable = TransferFactory(data)()
    trainable.reset(Assignment(0, candidate))
    report = trainable.step()
    while not report.done:
        report = trainable.step()
    ended = time.perf_counter()
    backbones = str(candidate.get("backbones", candidate.get("finetune.backbone")))
    cells = [
        name,
        backbones.replace("efficientnet-", ""),
        candidate["views"],
        candidate["resolution"],
        candidate["head"],
        f"{report.metrics['val/precision_at_1']:.4f}",
        f"{report.metrics['val/log_loss']:.4f}",
        f"{embedded - started:.1f}",
        f"{ended - embedded:.1f}",
    ]
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
