"""From the weights of a trained network to the model: logits for calibration, one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from strandline.learn.calibrate import scores_of
from strandline.learn.heads.contract import Doubles, Floats
from strandline.learn.refit import Progress, Refitted, check_scores, missing_labels
from strandline.learn.scratch.pixels import load_pixels
from strandline.learn.scratch.recipe import read_recipe
from strandline.learn.scratch.trials import make_fitting, validation_rows
from strandline.learn.transfer_data import TransferData
from strandline.spec.errors import CorruptArtifactError
from strandline.spec.records import Scalar, Task
from strandline.spec.search_space import Space

if TYPE_CHECKING:
    from strandline.learn.scratch.fitting import Fitting


def finish_network(
    data: TransferData,
    space: Space,
    candidate: Mapping[str, Scalar],
    checkpoint: bytes | None,
    progress: Progress | None = None,
) -> Refitted:
    """Return the model of a trained network.

    A checkpoint that was lost, or is from before the last epoch, costs time and nothing
    else: the epochs that are missing are gone through again, with the same result.

    Args:
        progress: called with (epochs done, epochs in all).

    Raises:
        InvalidSpecError: the candidate is none of the space.
        FailedRunError: the graph does not give what the network gives.
    """
    from strandline.zoo.cells.image_graph import image_model

    recipe = read_recipe(space, candidate)
    fitting = make_fitting(data, recipe, threads=None)
    if checkpoint is not None:
        try:
            fitting.load_bytes(checkpoint)
        except CorruptArtifactError:
            fitting = make_fitting(data, recipe, threads=None)
    while not fitting.finished:
        if progress is not None:
            progress(fitting.epochs_done, recipe.schedule.epochs)
        fitting.run_epoch()
    fitting.settle()
    rows = validation_rows(data)
    scorer = NetworkScorer(data, recipe.network.image_size, fitting)
    graph = image_model(fitting.network, recipe.plan(len(data.labels)))
    check_scores(graph, scorer, data)
    return Refitted(
        graph=graph,
        scorer=scorer,
        out_of_fold_logits=fitting.logits(rows),
        out_of_fold_targets=data.targets[rows],
        out_of_fold_images=tuple(data.images[row] for row in rows),
        notes=(
            *missing_labels(data),
            "the network was trained from nothing on this dataset alone",
            "how much near-duplicates would have flattered it was not measured: that takes a "
            "second training",
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class NetworkScorer:
    """The network itself, on images that are resized once."""

    data: TransferData
    image_size: int
    fitting: Fitting

    def score(self, images: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return logits of stored images, float32 [n, labels]."""
        pixels = load_pixels(
            self.data.open_store, images, self.image_size, self.data.cache_dir, progress
        )
        return self.fitting.score(pixels)

    def raw_scores(self, logits: Floats, task: Task) -> Doubles:
        """Return softmax, or a sigmoid a label, of the logits."""
        return scores_of(np.asarray(logits, np.float64), task)
