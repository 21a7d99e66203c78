"""Builders of scorecards: a valid evaluation of an imagined model in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strandline.learn.abstain import choose_threshold
from strandline.learn.calibrate import scores_of
from strandline.learn.evaluate import evaluate_scores
from strandline.spec.records import Task, digest_of
from strandline.spec.scorecard import Scorecard

Floats = NDArray[np.float64]


def make_digests(count: int) -> list[str]:
    """Return distinct digests of imagined images."""
    return [digest_of(str(index).encode()) for index in range(count)]


def make_logits(
    task: Task, labels: int, items: int, seed: int = 0, skill: float = 2.5
) -> tuple[Floats, NDArray[np.generic]]:
    """Return logits [items, labels] that are calibrated exactly, and their truth."""
    rng = np.random.default_rng(seed)
    if task is Task.MULTILABEL:
        logits = rng.normal(-1.5, skill, size=(items, labels))
        chance = rng.random(logits.shape)
        return logits, (chance < 1 / (1 + np.exp(-logits))).astype(np.float32)
    truth = np.arange(items) % labels
    logits = rng.normal(size=(items, labels)) + skill * np.eye(labels)[truth]
    return logits * skill, truth


def make_scorecard(
    task: Task = Task.MULTICLASS,
    labels: Sequence[str] = ("cliff", "dune", "reef"),
    items: int = 120,
    seed: int = 0,
    skill: float = 2.5,
    goal: float = 0.05,
    **options: Any,
) -> Scorecard:
    """Return the scorecard of an imagined model; `options` go to `evaluate_scores`."""
    logits, truth = make_logits(task, len(labels), items, seed, skill)
    scores = scores_of(logits, task)
    held_out, held_truth = make_logits(task, len(labels), 4 * items, seed + 1, skill)
    chosen = choose_threshold(scores_of(held_out, task), held_truth, task, goal)
    settings: dict[str, Any] = {
        "image_digests": make_digests(items),
        "uncalibrated": scores_of(2 * logits, task),
        "resamples": 50,
        "seed": seed,
    }
    return evaluate_scores(
        scores, truth, task, labels, abstention=chosen, **{**settings, **options}
    )
