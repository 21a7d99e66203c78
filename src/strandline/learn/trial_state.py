"""What a transfer trial knows after each fold, and how that survives as bytes.

safetensors, not pickle: a checkpoint comes back from a store that others may write to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strandline.learn.heads.contract import Floats
from strandline.spec.errors import CorruptArtifactError


@dataclass(frozen=True, slots=True, eq=False)
class FoldScores:
    """Out-of-fold logits so far.

    Attributes:
        logits: float32 [n, labels]; rows of images not scored yet are 0.
        scored: bool [n].
        folds_done: number of finished folds.
    """

    logits: Floats
    scored: NDArray[np.bool_]
    folds_done: int

    @classmethod
    def empty(cls, images: int, labels: int) -> FoldScores:
        """Start with nothing scored."""
        return cls(np.zeros((images, labels), np.float32), np.zeros(images, np.bool_), 0)

    def with_fold(self, rows: NDArray[np.bool_], logits: Floats) -> FoldScores:
        """Return the state with one more fold's logits, those of the rows marked."""
        joined = self.logits.copy()
        joined[rows] = logits
        return FoldScores(joined, self.scored | rows, self.folds_done + 1)

    def to_bytes(self) -> bytes:
        """Return the state as safetensors; only scored rows are kept."""
        from safetensors.numpy import save

        content: bytes = save(
            {
                "logits": self.logits[self.scored],
                "scored": self.scored.astype(np.uint8),
                "folds_done": np.array([self.folds_done], np.int64),
            }
        )
        return content

    @classmethod
    def from_bytes(cls, content: bytes, like: FoldScores) -> FoldScores:
        """Read what `to_bytes` wrote for the same data.

        Raises:
            CorruptArtifactError: it is something else.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            arrays = load(content)
            scored = arrays["scored"].astype(np.bool_)
            folds_done = int(arrays["folds_done"][0])
            logits = np.zeros_like(like.logits)
            if scored.shape != like.scored.shape:
                raise ValueError(f"{scored.shape} images instead of {like.scored.shape}")
            logits[scored] = arrays["logits"]
        except (SafetensorError, KeyError, IndexError, ValueError) as error:
            raise CorruptArtifactError(
                f"the trial's checkpoint does not fit ({error}): start the trial anew"
            ) from error
        return cls(logits, scored, folds_done)
