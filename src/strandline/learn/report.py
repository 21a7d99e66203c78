"""Render a Scorecard as one HTML file that can be mailed, printed and read on a phone.

The file reaches for nothing outside itself and a content security policy keeps it so:
labels and file names come from strangers, so all of them are escaped, and the only
script and style that run are those whose hashes the policy names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from strandline.learn import plots, wording
from strandline.learn.charts import draw_charts
from strandline.learn.pictures import Thumbnails, show_examples
from strandline.spec.records import Task
from strandline.spec.scorecard import Estimate, Scorecard, grid_rows

DEFAULT_PICTURE_BYTES = 4_000_000
_LARGEST_TABLE = 25
_OPEN_GROUPS = 1
_TABLE_THRESHOLDS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
# Controls but tab and newline, and the bidirectional overrides ("Trojan Source", 2021).
_HIDDEN = dict.fromkeys(
    (
        *(*range(9), 11, *range(13, 32), *range(127, 160)),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    ),
    "\ufffd",
)
_NAMES = {
    "precision_at_1": "Top answer right",
    "auc_pr": "AUC-PR (mean of labels)",
    "auc_pr_micro": "AUC-PR (pooled)",
    "auc_roc": "AUC-ROC (mean of labels)",
    "auc_roc_micro": "AUC-ROC (pooled)",
    "f1_macro": "F1 (mean of labels)",
    "f1_micro": "F1 (pooled)",
    "log_loss": "Log loss (nats)",
    "ece": "Expected calibration error",
    "mean_average_precision": "Mean average precision",
    "subset_accuracy": "All labels of an image right",
}


def render_report(
    scorecard: Scorecard,
    thumbnails: Thumbnails = lambda _: None,
    *,
    model: str = "",
    dataset: str = "",
    facts: Mapping[str, str] | None = None,
    picture_bytes: int = DEFAULT_PICTURE_BYTES,
) -> str:
    """Return the report as a self-contained HTML page.

    Args:
        thumbnails: small JPEG, PNG or WebP of an image by digest, None to leave it out.
        model, dataset: names to show.
        facts: where the model comes from, shown in order (dataset digest, search, …).
        picture_bytes: most bytes of pictures, shared fairly among labels.
    """
    environment = page_environment()
    environment.filters.update(range=_range)
    style, script = (source_of(environment, name) for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        title=f"Evaluation of {model}" if model else "Evaluation",
        dataset=dataset,
        card=scorecard,
        multilabel=scorecard.task is Task.MULTILABEL,
        style=style,
        style_hash=policy_hash(style),
        script=script,
        script_hash=policy_hash(script),
        facts=_facts(scorecard, facts or {}),
        shots=list(show_examples(scorecard, thumbnails, picture_bytes)),
        open_groups=_OPEN_GROUPS,
        **_texts(scorecard, model),
        **draw_charts(scorecard),
        **_tables(scorecard),
    )


def page_environment() -> jinja2.Environment:
    """Return what renders a page of ours: whatever comes from outside is shown as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("strandline.learn", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(percent=wording.percent, shorten=plots.shorten)
    return environment


def _visible(value: object) -> object:
    """Show characters that would reorder or hide the text around a name as U+FFFD."""
    if not isinstance(value, str):
        return value
    shown = str(value).translate(_HIDDEN)
    # Escaped text stays escaped: only characters without meaning to HTML were replaced.
    return Markup(shown) if isinstance(value, Markup) else shown  # noqa: S704


def source_of(environment: jinja2.Environment, name: str) -> Markup:
    """Return a style sheet or script of ours, to stand in a page as it is."""
    assert environment.loader is not None
    # Our own package data, not text from outside: it goes in unescaped.
    return Markup(environment.loader.get_source(environment, name)[0])  # noqa: S704


def policy_hash(text: str) -> str:
    """Return the hash by which a content security policy allows one inline element."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _texts(scorecard: Scorecard, model: str) -> dict[str, Any]:
    sections = [
        ("next", "Next steps"),
        ("abstention", "I don’t know"),
        ("thresholds", "Thresholds"),
        ("confusion", "Confusions"),
        ("calibration", "Calibration"),
        ("labels", "Labels"),
        ("images", "Images"),
        ("leakage", "Near-duplicates"),
        ("numbers", "All numbers"),
        ("facts", "Origin"),
    ]
    absent = {"confusion" * (scorecard.task is Task.MULTILABEL)}
    absent.add("leakage" * (scorecard.leakage is None))
    return {
        "sections": [each for each in sections if each[0] not in absent],
        "headline": wording.headline(scorecard),
        "abstention_sentence": wording.abstention_sentence(scorecard),
        "calibration_sentence": wording.calibration_sentence(scorecard),
        "advice": wording.advice(scorecard, model),
        "confusions": wording.top_confusions(scorecard),
    }


def _tables(scorecard: Scorecard) -> dict[str, Any]:
    rows = grid_rows(scorecard.grid)
    multiclass = scorecard.task is Task.MULTICLASS
    drawn = multiclass and len(scorecard.labels) > _LARGEST_TABLE
    return {
        "tiles": list(_tiles(scorecard)),
        "grid": [row for row in rows if row["threshold"] in _TABLE_THRESHOLDS],
        "matrix": plots.draw_matrix(scorecard.labels, scorecard.confusion) if drawn else None,
        "heat": list(_heat(scorecard)) if multiclass and not drawn else [],
        "leakage_rows": list(_leakage_rows(scorecard)),
        "numbers": [
            {
                "name": _NAMES.get(name, name),
                "value": _value(name, each),
                "interval": _interval(name, each),
                "method": each.method.value,
            }
            for name, each in scorecard.metrics.items()
        ],
    }


def _tiles(scorecard: Scorecard) -> Iterator[dict[str, str]]:
    shown = {"precision_at_1": "Top answer right", "auc_pr": "AUC-PR", "auc_roc": "AUC-ROC"}
    if scorecard.task is Task.MULTILABEL:
        shown = {"mean_average_precision": "Mean average precision", **shown}
        del shown["auc_pr"]
    for name, title in {**shown, "ece": "Calibration error"}.items():
        each = scorecard.metrics[name]
        yield {"name": title, "value": _value(name, each), "interval": _interval(name, each)}


def _value(name: str, estimate: Estimate) -> str:
    if name == "log_loss":
        return "–" if estimate.value is None else f"{estimate.value:.4f}"
    return wording.percent(estimate.value)


def _interval(name: str, estimate: Estimate) -> str:
    if name == "log_loss" and estimate.low is not None and estimate.high is not None:
        return f"{estimate.low:.4f} to {estimate.high:.4f}"
    return wording.interval(estimate)


def _range(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{100 * estimate.low:.3g}–{100 * estimate.high:.3g}"


def _heat(scorecard: Scorecard) -> Iterator[dict[str, Any]]:
    for row, counts in enumerate(scorecard.confusion):
        cells = [
            {
                "count": count,
                "css": f"{'hit' if row == column else 'miss'} h{level}" if count else "zero",
            }
            for column, count in enumerate(counts)
            for level in [plots.heat_level(count, sum(counts))]
        ]
        yield {"label": scorecard.labels[row], "cells": cells}


def _leakage_rows(scorecard: Scorecard) -> Iterator[dict[str, str]]:
    if scorecard.leakage is None:
        return
    for name, inflation in scorecard.leakage.inflation.items():
        scale, unit = (1.0, "") if name == "log_loss" else (100.0, " points")
        bounds = ""
        if inflation.low is not None and inflation.high is not None:
            bounds = f"{scale * inflation.low:+.2f} to {scale * inflation.high:+.2f}"
        yield {
            "name": _NAMES.get(name, name),
            "left_in": _value(name, scorecard.leakage.left_in[name]),
            "taken_out": _value(name, scorecard.metrics[name]),
            "inflation": "–"
            if inflation.value is None
            else f"{scale * inflation.value:+.2f}{unit}",
            "range": bounds,
        }


def _facts(scorecard: Scorecard, facts: Mapping[str, str]) -> list[tuple[str, str]]:
    own = {
        "Test images": f"{scorecard.items} ({scorecard.clusters} independent)",
        "Intervals": f"{scorecard.confidence:.0%}, {scorecard.resamples} resamples, "
        f"seed {scorecard.seed}",
    }
    return [*facts.items(), *own.items()]
