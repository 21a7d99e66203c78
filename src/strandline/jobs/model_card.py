"""The model card (Mitchell et al. 2019, arXiv 1810.03993) that travels in the bundle."""

from __future__ import annotations

from strandline.bundle.contents import Receipt
from strandline.spec.scorecard import Estimate, Scorecard

_LABELS_LISTED = 100


def write_card(name: str, scorecard: Scorecard, receipt: Receipt) -> str:
    """Return the card as Markdown: what the model is, how good it is, and its limits."""
    rows = "\n".join(
        f"| {metric} | {_number(e.value)} | {_number(e.low)} – {_number(e.high)} |"
        for metric, e in scorecard.metrics.items()
    )
    labels = ", ".join(_escape(label) for label in scorecard.labels[:_LABELS_LISTED])
    more = len(scorecard.labels) - _LABELS_LISTED
    winner = ", ".join(f"{key} = {value}" for key, value in receipt.candidate.items())
    notes = "\n".join(f"- {_escape(note)}" for note in scorecard.notes) or "- none"
    choice = scorecard.abstention.chosen
    return f"""# {_escape(name)}

{scorecard.task.value.capitalize()} image classification with {len(scorecard.labels)} labels:
{labels}{f" and {more} more" if more > 0 else ""}.

## How good it is

On {scorecard.items} images that training never saw, with 95% intervals:

| metric | value | interval |
| --- | --- | --- |
{rows}

## When it says "I don't know"

It answers from a score of {choice.threshold:.4f} on. {_escape(choice.reason)}

## What it was made from

- Dataset {_escape(receipt.dataset)}, version {receipt.dataset_version},
  `{receipt.dataset_digest}`
- Search {_escape(receipt.search or "")}, seed {receipt.seed}: {len(receipt.trials)} candidates
- The winner: {_escape(winner)}

## What to know before relying on it

{notes}
- The numbers hold for images of the same kind as those in the dataset. Other cameras, places
  or times of year need an evaluation of their own (`strandline evaluate --dataset`).
"""


def _number(value: Estimate | float | None) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "–"


def _escape(text: str) -> str:
    """Keep text from outside from becoming markup."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|" else char for char in shown)
