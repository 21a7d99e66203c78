"""What the log of a training says."""

from __future__ import annotations

import io

from strandline.cli.networks import TrainingLines
from strandline.jobs.training import TrainingProgress


def test_each_epoch_and_each_stage_is_a_line_with_the_time_left() -> None:
    out = io.StringIO()
    lines = TrainingLines(out)
    metrics = {"train/loss": 1.5, "val/precision_at_1": 0.25, "parameters": 10.0}
    lines.show(TrainingProgress("training", 1, 2, 65.0, metrics))
    lines.show(TrainingProgress("training", 2, 2, 0.0, metrics))
    for done in range(3):
        lines.show(TrainingProgress("evaluating", done, 3))
    assert out.getvalue().splitlines() == [
        "epoch 1/2: train/loss 1.5000, val/precision_at_1 0.2500; about 1m05s left",
        "epoch 2/2: train/loss 1.5000, val/precision_at_1 0.2500",
        "evaluating",
    ]
