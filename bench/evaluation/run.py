"""How far an evaluation can be trusted: speed, broken promises, calibration that helps.

Run: python bench/evaluation/run.py (about two minutes on one core).
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from strandline.learn.abstain import choose_threshold
from strandline.learn.calibrate import fit_calibration, scores_of
from strandline.learn.evaluate import evaluate_scores
from strandline.spec.records import Task
from strandline.testing.scorecards import make_digests, make_scorecard

SPLITS = 12
RUNS = 200


def measure_speed() -> None:
    started = time.perf_counter()
    make_scorecard(labels=[f"l{each:03}" for each in range(100)], items=10_000, resamples=1000)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| 10,000 images, 100 labels, 1,000 resamples | {seconds:.1f} s | {peak:.0f} MiB |")


def imagined_images(
    rng: np.random.Generator, images: int, lift: float, sharpness: float, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores [n, 2], truth [n] and the true chance that the answer is wrong [n]."""
    logit = np.abs(rng.normal(lift, 2.5, images))
    chance = 1 - (1 - noise) / (1 + np.exp(-logit))
    shown = 1 / (1 + np.exp(-sharpness * logit))
    truth = (rng.random(images) < chance).astype(np.int64)
    return np.stack([shown, 1 - shown], axis=1), truth, chance


def measure_promises() -> None:
    settings = [
        (150, 3, 0.05, 1, 0.0),
        (1000, 3, 0.05, 2, 0.02),
        (1000, 4, 0.01, 1, 0.0),
        (1680, 6, 0.01, 1, 0.0),
        (1680, 6, 0.01, 2, 0.003),
        (5000, 4, 0.01, 1, 0.005),
        (10_000, 4, 0.01, 1, 0.0),
    ]
    for images, lift, goal, sharpness, noise in settings:
        rng = np.random.default_rng(7)
        unseen, _, chance = imagined_images(rng, 400_000, lift, sharpness, noise)
        top = unseen.max(axis=1)
        supported, broken, guessed, broken_guesses, coverage = 0, 0, 0, 0, 0.0
        for _ in range(RUNS):
            scores, truth, _ = imagined_images(rng, images, lift, sharpness, noise)
            found = choose_threshold(scores, truth, Task.MULTICLASS, goal)
            answers = top >= found.threshold
            misses = bool(answers.any()) and float(chance[answers].mean()) > goal
            supported += found.supported
            guessed += not found.supported
            broken += found.supported and misses
            broken_guesses += (not found.supported) and misses
            coverage += float(answers.mean()) / RUNS
        print(
            f"| {images} | {1 - chance.mean():.3f} | {goal:.0%} | {sharpness} | {noise} | "
            f"{supported / RUNS:.0%} | {broken / RUNS:.1%} | {broken_guesses}/{guessed} | "
            f"{coverage:.2f} |"
        )


def measure_calibration() -> None:
    images, truth = load_digits(return_X_y=True)
    heads = {
        "logistic, C=0.01": LogisticRegression(C=0.01),
        "logistic, C=0.1": LogisticRegression(C=0.1),
        "logistic, C=1": LogisticRegression(C=1.0, max_iter=300),
        "logistic, C=100": LogisticRegression(C=100.0, max_iter=1000),
        "random forest": RandomForestClassifier(50, random_state=0),
        "naive Bayes": GaussianNB(var_smoothing=1e-2),
        "5 nearest neighbours": KNeighborsClassifier(5),
    }
    for name, head in heads.items():
        for limit in (1437, 300):
            compare_calibration(name, head, images / 16, truth, limit)


def compare_calibration(
    name: str, head: object, images: np.ndarray, truth: np.ndarray, limit: int
) -> None:
    lower, holds, supported, raw, after = 0, 0, 0, 0.0, 0.0
    for seed in range(SPLITS):
        train, test = train_test_split(
            np.arange(len(truth)), test_size=360, random_state=seed, stratify=truth
        )
        train = train[:limit]
        held_out = cross_val_predict(
            head, images[train], truth[train], cv=5, method="predict_proba"
        )
        shares = head.fit(images[train], truth[train]).predict_proba(images[test])  # type: ignore[attr-defined]
        held_out, logits = (np.log(np.maximum(each, 1e-6)) for each in (held_out, shares))
        calibration = fit_calibration(held_out, truth[train], Task.MULTICLASS)
        chosen = choose_threshold(calibration.apply(held_out), truth[train], Task.MULTICLASS, 0.01)
        found = evaluate_scores(
            calibration.apply(logits),
            truth[test],
            Task.MULTICLASS,
            [str(digit) for digit in range(10)],
            image_digests=make_digests(len(test)),
            abstention=chosen,
            uncalibrated=scores_of(logits, Task.MULTICLASS),
            resamples=50,
        )
        before, now = found.calibration.uncalibrated, found.calibration.calibrated.ece.value
        assert before is not None
        assert before.ece.value is not None
        assert now is not None
        lower += now < before.ece.value
        raw, after = raw + before.ece.value / SPLITS, after + now / SPLITS
        holds, supported = holds + found.abstention.holds, supported + chosen.supported
    print(
        f"| {name} | {min(limit, 1437)} | {raw:.3f} | {after:.3f} | {lower}/{SPLITS} | "
        f"{supported}/{SPLITS} | {holds}/{SPLITS} |"
    )


def main() -> int:
    print("| evaluation | time | peak memory of the process |\n|---|---|---|")
    measure_speed()
    print(
        "\n| images | accuracy | goal | over-confidence | label noise | supported | "
        "promise broken | guesses broken | mean coverage |\n|" + "---|" * 9
    )
    measure_promises()
    print(
        "\n| head on digits | training images | ECE before | after | below | 1% goal supported | "
        "holds on test |\n|" + "---|" * 7
    )
    measure_calibration()
    return 0


if __name__ == "__main__":
    sys.exit(main())
