"""Put example images into the report without letting it grow past a bound.

Pictures come from a store by digest and are told apart by their first bytes; anything
that is not a common picture is left out rather than handed to a browser.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from strandline.learn.plots import shorten
from strandline.spec.scorecard import Example, ExampleOutcome, LabelSlice, Scorecard

Thumbnails = Callable[[str], bytes | None]

_LONGEST_TEXT = 80
_SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"RIFF": "image/webp",
}
_PARTS = {
    ExampleOutcome.WRONG: "Wrong: given this label, which is not theirs",
    ExampleOutcome.MISSED: "Missed: this label is theirs, but was not given",
    ExampleOutcome.RIGHT: "Right, surest first",
}


def show_examples(
    scorecard: Scorecard, thumbnails: Thumbnails, picture_bytes: int
) -> Iterator[dict[str, Any]]:
    """Yield each label with its example images, weakest label first.

    Args:
        picture_bytes: most bytes of data URIs in all, shared fairly among labels.
    """
    ordered = sorted(
        (each for each in scorecard.slices if each.examples),
        key=lambda each: 2.0 if each.f1.value is None else each.f1.value,
    )
    for index, each in enumerate(ordered):
        # What earlier labels left unspent is shared among the later ones.
        group, spent = _group(each, thumbnails, picture_bytes // (len(ordered) - index))
        picture_bytes -= spent
        yield group


def _group(each: LabelSlice, thumbnails: Thumbnails, allowed: int) -> tuple[dict[str, Any], int]:
    left = allowed
    parts = []
    for outcome, name in _PARTS.items():
        shots = []
        for example in (found for found in each.examples if found.outcome is outcome):
            data = _data_uri(thumbnails(example.image), left)
            left -= len(data)
            shots.append(_shot(example, each.label, data))
        if shots:
            parts.append({"name": name, "shots": shots})
    right = round((each.recall.value or 0.0) * each.support)
    group = {
        "label": each.label,
        "wrong": each.predicted - right,
        "missed": each.support - right,
        "parts": parts,
    }
    return group, allowed - left


def _data_uri(picture: bytes | None, allowed: int) -> str:
    """Return the picture as a data URI; empty when it is none or does not fit."""
    if picture is None or len(picture) * 4 // 3 + 64 > allowed:
        return ""
    for signature, media_type in _SIGNATURES.items():
        if picture.startswith(signature):
            return f"data:{media_type};base64,{base64.b64encode(picture).decode()}"
    return ""


def _shot(example: Example, label: str, data: str) -> dict[str, str | float]:
    truth = shorten(", ".join(example.truth), _LONGEST_TEXT) or "no label"
    given = shorten(", ".join(example.predicted), _LONGEST_TEXT) or "no label"
    text = {
        ExampleOutcome.RIGHT: "right",
        ExampleOutcome.WRONG: f"is {truth}",
        ExampleOutcome.MISSED: f"was called {given}",
    }[example.outcome]
    return {
        "data": data,
        "css": example.outcome.value,
        "alt": f"Test image, {label}: {text}",
        "score": example.score,
        "text": text,
        "source": shorten(example.source or "", _LONGEST_TEXT),
    }
