"""What a candidate would cost, so that a search tries only what ends in time.

Only embeddings that are not in the cache cost much. Their price an image is measured on
this machine: one image through the very graph, on one CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from strandline.data.cpu import usable_cpus
from strandline.data.embeddings import count_missing
from strandline.learn.heads.contract import number
from strandline.learn.recipe import FINETUNE, read_candidate, read_parts
from strandline.learn.transfer_data import TransferData
from strandline.spec.records import Scalar
from strandline.zoo.backbones import describe_backbone
from strandline.zoo.extractor import FeaturePart, embedding_graph, embedding_graphs

_PROBE_SIDE = 256
_PROBE_RUNS = 3
# Decoding, a busy machine, a slow store.
_MARGIN = 1.3


@dataclass(slots=True)
class CostModel:
    """Expects the seconds that a candidate takes.

    Attributes:
        data: of the search.
        later_images: digests that the best candidate will have to embed after the search
            (the test split): a candidate that leaves no time for that comes too late.
        probe: returns seconds an image of one part on one CPU.
    """

    data: TransferData
    later_images: Sequence[str] = ()
    probe: Callable[[FeaturePart, TransferData], float] | None = None
    _seconds_an_image: dict[FeaturePart, float] = field(default_factory=dict)
    _training_seconds: dict[str, float] = field(default_factory=dict)

    def expected_seconds(self, candidate: Mapping[str, Scalar]) -> float:
        """Return the seconds until the candidate is scored and its model evaluated.

        Raises:
            as `recipe.read_candidate`.
        """
        images = (*self.data.images, *self.later_images)
        if candidate.get("head") == FINETUNE:
            return self._tuning_seconds(candidate, images)
        parts = read_parts(candidate, self.data.cache_dir)
        return sum(self._part_seconds(part, images) for part in parts)

    def affordable(self, candidate: Mapping[str, Scalar], seconds_left: float) -> bool:
        """Return whether the candidate would end within the time left."""
        return self.expected_seconds(candidate) <= seconds_left

    def _tuning_seconds(self, candidate: Mapping[str, Scalar], images: Sequence[str]) -> float:
        """Return the seconds for feature maps, and for training on all folds and once more."""
        from strandline.learn.finetune import find_front, training_seconds

        recipe = read_candidate(candidate, self.data.cache_dir)
        front = find_front(recipe, self.data.loader)
        missing = count_missing(
            images, front.digest, front.dim, self.data.cache_dir, front.part.views
        )
        # The front is less than the whole backbone: its price is not measured apart.
        price = self._price(recipe.parts[0]) if missing else 0.0
        key = front.digest
        if key not in self._training_seconds:
            self._training_seconds[key] = training_seconds(front, self.data.loader)
        rounds = (len(self.data.fold_numbers) + 1) * int(number(recipe.choice.params, "epochs"))
        training = rounds * len(self.data.images) * self._training_seconds[key]
        return (missing * price / usable_cpus() + training) * _MARGIN

    def _part_seconds(self, part: FeaturePart, images: Sequence[str]) -> float:
        cache_dir = self.data.cache_dir
        dim = describe_backbone(part.backbone, cache_dir).dim
        missing_views = sum(
            count_missing(images, graph.digest, dim, cache_dir, graph.views) * graph.views
            for graph in embedding_graphs(part, cache_dir)
        )
        if not missing_views:
            return 0.0
        return missing_views * self._price(part) / part.views * _MARGIN / usable_cpus()

    def _price(self, part: FeaturePart) -> float:
        if part not in self._seconds_an_image:
            self._seconds_an_image[part] = (self.probe or probe_seconds)(part, self.data)
        return self._seconds_an_image[part]


def probe_seconds(part: FeaturePart, data: TransferData) -> float:
    """Return the seconds one image takes on one CPU, the least of a few runs."""
    import onnxruntime

    graph, _ = embedding_graph(part, data.cache_dir)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    pixels = np.zeros((1, _PROBE_SIDE, _PROBE_SIDE, 3), np.uint8)
    seconds = []
    for _ in range(_PROBE_RUNS):
        started = time.perf_counter()
        session.run(None, {"images": pixels})
        seconds.append(time.perf_counter() - started)
    return min(seconds)
