"""`strandline train`, `search`, `searches`, `evaluate` and `models`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strandline.cli.completion import complete_names
from strandline.cli.interrupts import stop_on_interrupt
from strandline.cli.output import (
    count_labels,
    minute,
    note,
    output_option,
    plain,
    print_structured,
    print_table,
    printable,
)
from strandline.cli.progress import progress_bar
from strandline.cli.verbs import verbs
from strandline.spec.records import TrainReport

if TYPE_CHECKING:
    from strandline.spec.scorecard import Scorecard


@click.command()
@click.argument("dataset", shell_complete=complete_names("Dataset"))
@click.option("--budget", default="2m", show_default=True, help="Time to search, e.g. 45s, 10m.")
@click.option("--trials", type=click.IntRange(min=1), default=None, help="Most trials.")
@click.option(
    "--preset",
    type=click.Choice(["fast", "balanced", "best"]),
    default="balanced",
    show_default=True,
    help="How large a part of the space is searched.",
)
@click.option("--model", default=None, help="Name of the model (default: the dataset's).")
@click.option("--search", default=None, help="Name of the search (default: made from the model).")
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    help="Choose among these backbones only; timm:NAME loads from the hub.",
)
@click.option("--parallelism", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--max-error-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="Abstention goal: at most this share of the answers given is wrong.",
)
@output_option()
def train(dataset: str, output: str | None, **options: Any) -> None:
    """Search for the best model of DATASET, refit, calibrate, evaluate and register it.

    Ctrl-C keeps what was done and says how to go on.
    """
    from strandline.cli.search_table import search_view

    with stop_on_interrupt() as stop, search_view() as view:
        report = verbs().train(dataset, progress=view, stop_requested=stop, **options)
    _print_train_report(report, output)


@click.group()
def search() -> None:
    """One search."""


@search.command("resume")
@click.argument("name", shell_complete=complete_names("Search"))
@click.option("--budget", default=None, help="New total time, e.g. 20m; what was used counts.")
@click.option("--trials", type=click.IntRange(min=1), default=None, help="New most trials.")
@output_option()
def resume_search(name: str, budget: str | None, trials: int | None, output: str | None) -> None:
    """Go on with search NAME from where it ended, however it ended."""
    from strandline.cli.search_table import search_view

    with stop_on_interrupt() as stop, search_view() as view:
        report = verbs().resume_search(
            name, budget=budget, trials=trials, progress=view, stop_requested=stop
        )
    _print_train_report(report, output)


def _print_train_report(report: TrainReport, output: str | None) -> None:
    if output:
        print_structured(report, output)
        return
    click.echo(
        f"model/{report.model} version {report.version}: best of {report.trials} trials, "
        f"{report.best.metric} {report.best.value:.4f} ({report.seconds:.0f} s)"
    )
    click.echo(f"next: strandline evaluate {report.model} --report report.html")


@click.group()
def searches() -> None:
    """Searches that were run."""


@searches.command("list")
@output_option()
def list_searches(output: str | None) -> None:
    """List searches with their state and best value."""
    found = verbs().list_searches()
    if output:
        print_structured(found, output)
        return
    print_table(
        ("NAME", "DATASET", "STATE", "TRIALS", "BEST", "MODEL"),
        [
            (
                each["name"],
                each["dataset"],
                each["state"],
                each["trials"],
                _best_text(each["best"]),
                each["model"] or "",
            )
            for each in found
        ],
    )


def _best_text(best: Mapping[str, Any] | None) -> str:
    return f"{best['metric']} {best['value']:.4f}" if best else ""


@click.command()
@click.argument("model", shell_complete=complete_names("Model"))
@click.option("--dataset", default=None, help="Evaluate on this dataset (default: its own).")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="Write a self-contained HTML report with plots.",
)
@output_option()
def evaluate(model: str, dataset: str | None, report: Path | None, output: str | None) -> None:
    """Evaluate MODEL (NAME, NAME@VERSION or a bundle file) on images it never saw."""
    with stop_on_interrupt() as stop, progress_bar(f"Evaluating {model}") as advance:
        evaluation = verbs().evaluate(
            model, dataset=dataset, report=report, progress=advance, stop_requested=stop
        )
    if output:
        print_structured(evaluation.contract(), output)
    else:
        _print_scorecard(evaluation.model, evaluation.dataset, evaluation.scorecard)
    if report:
        note(f"report: {report}")


def _print_scorecard(model: str, dataset: str, scorecard: Scorecard) -> None:
    click.echo(f"model/{model} on {scorecard.items} test images of dataset/{dataset}")
    rows = [
        (name, f"{metric.value:.4f}", f"{metric.low:.4f} – {metric.high:.4f}")
        for name, metric in scorecard.metrics.items()
    ]
    print_table(("METRIC", "VALUE", "95% INTERVAL"), rows)
    for remark in scorecard.notes:
        note(f"note: {printable(remark)}")


@click.group()
def models() -> None:
    """Models that were trained."""


@models.command("list")
@output_option()
def list_models(output: str | None) -> None:
    """List models, each with its newest version."""
    versions = verbs().list_models()
    if output:
        print_structured(versions, output)
        return
    print_table(
        ("NAME", "VERSION", "TASK", "LABELS", "DATASET", "PRECISION@1", "CREATED"),
        [
            (
                v["model"],
                v["version"],
                v["task"],
                count_labels(v),
                v["dataset"],
                f"{v['metrics']['precision_at_1']:.4f}" if "precision_at_1" in v["metrics"] else "",
                minute(v["created_at"]),
            )
            for v in map(plain, versions)
        ],
    )


COMMANDS = (train, search, searches, evaluate, models)
