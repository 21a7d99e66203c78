"""What trials report of the images they are judged by: one list for every kind of trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from strandline.learn import metrics
from strandline.learn.calibrate import scores_of
from strandline.learn.heads.contract import Floats
from strandline.learn.measure import make_sample
from strandline.learn.transfer_data import Targets
from strandline.spec.records import Task


def validation_metrics(
    logits: Floats, truth: Targets, task: Task, labels: Sequence[str]
) -> Mapping[str, float]:
    """Return the `val/…` metrics of logits [n, labels]; NaN when those are no numbers."""
    precise = logits.astype(np.float64)
    if not np.isfinite(precise).all():
        return {"val/log_loss": float("nan")}
    sample = make_sample(scores_of(precise, task), truth, task, labels)
    everyone = np.ones((1, len(truth)), np.int32)
    ranking = metrics.ranking_metric(sample)(everyone)
    return {
        "val/log_loss": float(metrics.log_losses(sample).mean()),
        "val/precision_at_1": float(sample.top_right.mean()),
        # With several labels an image: not exactly the true ones.
        "val/error": float((sample.decisions != sample.truth).any(axis=1).mean()),
        "val/auc_pr": float(ranking["auc_pr"][0]),
        "val/auc_roc": _finite(float(ranking["auc_roc"][0])),
    }


def _finite(value: float) -> float:
    """Return an undefined value (one label only was seen) as that of a coin."""
    return value if np.isfinite(value) else 0.5
