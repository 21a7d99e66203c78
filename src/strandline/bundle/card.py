"""The model card: what a person should read before relying on a model.

Sections after Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019). Labels and
names come from outside, so they are escaped and shortened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from strandline.bundle.contents import Receipt
from strandline.spec.records import Task
from strandline.spec.scorecard import Estimate, Scorecard

_HEADLINES = {
    "precision_at_1": "first answer right (precision@1)",
    "mean_average_precision": "mean average precision",
    "auc_pr": "area under precision-recall (AUC-PR)",
    "auc_roc": "area under ROC (AUC-ROC)",
    "log_loss": "log loss",
    "ece": "expected calibration error",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&])")
_SHOWN = 80
_LABELS_LISTED = 200
_NO_WORD = "Nobody has said yet."


def render_card(
    name: str,
    scorecard: Scorecard,
    receipt: Receipt,
    *,
    description: str = "",
    intended_use: str = "",
    license_name: str = "",
) -> str:
    """Return the model card in Markdown.

    Args:
        scorecard: the evaluation on the test split.
        description, intended_use, license_name: what the Model's owner wrote; may be empty.
    """
    parts = [
        f"# {_plain(name)}",
        _plain(description, 4096) or f"An image classifier, trained on {_plain(receipt.dataset)}.",
        "## Intended use",
        _plain(intended_use, 4096) or _NO_WORD,
        "## Labels",
        _labels(scorecard),
        "## Evaluation",
        _evaluation(scorecard),
        "## When it does not know",
        _plain(scorecard.abstention.chosen.reason, 1000),
        "## Training",
        _training(receipt),
        "## Licence",
        _plain(license_name) or _NO_WORD,
    ]
    notes = _list([*scorecard.notes, *receipt.notes])
    if notes:
        parts += ["## Caveats", notes]
    return "\n\n".join(parts) + "\n"


def _labels(scorecard: Scorecard) -> str:
    many = scorecard.task is Task.MULTILABEL
    lead = "Any number of these labels" if many else "Exactly one of these labels"
    shown = ", ".join(_plain(label) for label in scorecard.labels[:_LABELS_LISTED])
    more = len(scorecard.labels) - _LABELS_LISTED
    return f"{lead} an image: {shown}{f' and {more} more' if more > 0 else ''}."


def _evaluation(scorecard: Scorecard) -> str:
    rows = [
        f"| {title} | {_number(scorecard.metrics[key])} | {_interval(scorecard.metrics[key])} |"
        for key, title in _HEADLINES.items()
        if key in scorecard.metrics
    ]
    table = "\n".join(["| metric | value | 95% interval |", "| --- | --- | --- |", *rows])
    independent = f", {scorecard.clusters} of them independent" * (
        scorecard.clusters != scorecard.items
    )
    return f"On {scorecard.items} test images that training never saw{independent}:\n\n{table}"


def _training(receipt: Receipt) -> str:
    candidate = ", ".join(f"{key} = {value}" for key, value in sorted(receipt.candidate.items()))
    return _list(
        [
            f"dataset {receipt.dataset}, version {receipt.dataset_version}, "
            f"{receipt.dataset_digest}",
            f"{len(receipt.trials)} candidates tried, seed {receipt.seed}",
            f"chosen: {candidate}",
        ]
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line, 1000)}" for line in lines)


def _number(estimate: Estimate) -> str:
    return "undefined" if estimate.value is None else f"{estimate.value:.3f}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{estimate.low:.3f} to {estimate.high:.3f}"


def _plain(text: str, most: int = _SHOWN) -> str:
    """Return `text` as one line that Markdown and HTML show as it is."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    short = line if len(line) <= most else line[: most - 1] + "…"
    return _MARKDOWN.sub(r"\\\1", short)
