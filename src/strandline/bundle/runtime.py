"""Predict with a bundle: numpy, Pillow and onnxruntime, nothing else.

Opening checks every byte of the file, and the golden images must get their scores again
on this machine, every time: it takes less than loading the graph does, and a cached
"was right once" would not notice that the runtime was exchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strandline.bundle.answers import Answerer, LabelScore, Prediction
from strandline.bundle.format import Bundle, check_golden, open_bundle
from strandline.bundle.session import Floats, GraphSession

__all__ = ["LabelScore", "Prediction", "Predictor"]


class Predictor:
    """A loaded bundle. Safe to call from several threads.

    Attributes:
        bundle: what it was loaded from.
    """

    def __init__(self, source: Bundle | Path | bytes, threads: int | None = None) -> None:
        """Open, check and load a bundle.

        Args:
            threads: for one image; the CPUs this process may use if None.

        Raises:
            NotFoundError: there is no such file.
            CorruptArtifactError: it is damaged, of a newer version, or scores its golden
                images differently here.
            MissingExtraError: onnxruntime is not installed.
        """
        self.bundle = source if isinstance(source, Bundle) else open_bundle(source)
        manifest = self.bundle.manifest
        self._session = GraphSession(self.bundle.graph, len(manifest.labels), threads)
        check_golden(self.bundle, self._session)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the scores."""
        return self.bundle.manifest.labels

    def answerer(self, threshold: float | None = None) -> Answerer:
        """Return what turns this model's scores into predictions."""
        manifest = self.bundle.manifest
        return Answerer(manifest.task, manifest.labels, manifest.abstention, threshold)

    def scores(self, pixels: NDArray[np.uint8]) -> Floats:
        """Return scores [L] of an image [H, W, 3], or [N, L] of images [N, H, W, 3]."""
        if pixels.ndim == 3:
            return np.asarray(self._session.scores(pixels[None])[0])
        return self._session.scores(pixels)

    def predict(
        self, pixels: NDArray[np.uint8], source: str = "", threshold: float | None = None
    ) -> Prediction:
        """Return the prediction for an image, uint8 [H, W, 3], RGB, upright."""
        return self.answerer(threshold).answer(self.scores(pixels), source)

    def predict_many(
        self, images: Iterable[tuple[str, NDArray[np.uint8]]], threshold: float | None = None
    ) -> Iterator[Prediction]:
        """Yield the prediction for each (source, pixels), as they come."""
        answerer = self.answerer(threshold)
        for source, pixels in images:
            yield answerer.answer(self.scores(pixels), source)
