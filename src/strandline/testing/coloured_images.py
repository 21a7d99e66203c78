"""Images of one colour each, in a real store: easy to learn, and quick."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from strandline.adapters.files import FileStore
from strandline.learn.transfer_data import NEVER_SCORED, TransferData
from strandline.spec.records import Task

LABELS = ("blue", "green", "red")


def coloured_data(home: Path, images: int = 48) -> TransferData:
    """Return so many images, of which every fourth one is held out."""
    rng = np.random.default_rng(0)
    store = FileStore(home / "store")
    targets = np.arange(images) % 3
    folds = np.where(np.arange(images) % 4 == 0, 0, NEVER_SCORED)
    return TransferData(
        images=tuple(store.put(_picture(label, rng)) for label in targets.tolist()),
        targets=targets,
        folds=folds,
        task=Task.MULTICLASS,
        labels=LABELS,
        open_store=partial(FileStore, home / "store"),
        cache_dir=home / "cache",
    )


def _picture(label: int, rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 120, (20, 18, 3), dtype=np.uint8)
    pixels[..., 2 - label] += 120
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
