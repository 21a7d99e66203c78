"""Run the graph of a bundle in ONNX Runtime, on the CPUs this process may use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strandline.data.cpu import usable_cpus
from strandline.spec.errors import CorruptArtifactError, MissingExtraError

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_QUIET = 3  # errors only: warnings are about how the graph was written, not about results


class GraphSession:
    """A loaded graph `images` uint8 [N, H, W, 3] -> `scores` float32 [N, labels].

    Safe to call from several threads. It may allocate what one image takes at most.
    """

    def __init__(self, graph: bytes | memoryview, labels: int, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(
                "predicting needs onnxruntime: run `pip install 'strandline[serve]'`"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cpus()
        options.log_severity_level = _QUIET
        # A waiting thread that spins takes the CPU from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                bytes(graph), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise CorruptArtifactError(f"ONNX Runtime refuses the graph: {error}") from error
        self._labels = labels
        self._check_contract()

    def scores(self, images: Pixels) -> Floats:
        """Return scores [N, labels] of images [N, H, W, 3] of one size.

        Raises:
            CorruptArtifactError: the graph fails, or gives something else.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(
                f"expected uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}"
            )
        try:
            (found,) = self._session.run(["scores"], {"images": images})
        except Exception as error:  # as above
            raise CorruptArtifactError(f"the graph fails: {error}") from error
        if found.shape != (len(images), self._labels) or not np.isfinite(found).all():
            raise CorruptArtifactError(
                f"the graph gives {list(found.shape)} or values that are no numbers, not "
                f"finite scores [{len(images)}, {self._labels}]"
            )
        return np.asarray(found, dtype=np.float32)

    def _check_contract(self) -> None:
        inputs = [(each.name, each.type) for each in self._session.get_inputs()]
        outputs = [(each.name, each.type) for each in self._session.get_outputs()]
        if inputs != [("images", "tensor(uint8)")] or outputs != [("scores", "tensor(float)")]:
            raise CorruptArtifactError(
                f"the graph maps {inputs} to {outputs}; a bundle's maps `images` (uint8) "
                "to `scores` (float)"
            )
