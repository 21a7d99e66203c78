"""`strandline training`, and `search cell`: networks trained from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from strandline.cli.completion import complete_names
from strandline.cli.interrupts import stop_on_interrupt
from strandline.cli.learning import search
from strandline.cli.output import note, output_option, print_structured, printable
from strandline.cli.progress import progress_bar
from strandline.cli.search_table import spell_seconds
from strandline.cli.verbs import verbs
from strandline.spec.errors import AlreadyExistsError

if TYPE_CHECKING:
    from strandline.jobs.training import TrainingProgress


class TrainingLines:
    """A line for each epoch and each stage that follows, for a log."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._stage = ""

    def show(self, progress: TrainingProgress) -> None:
        """Print what is worth a line."""
        if progress.metrics is not None:
            told = ", ".join(
                f"{name} {progress.metrics[name]:.4f}"
                for name in ("train/loss", "val/log_loss", "val/precision_at_1")
                if name in progress.metrics
            )
            left = progress.seconds_left
            rest = f"; about {spell_seconds(left)} left" if left else ""
            self._say(f"epoch {progress.done}/{progress.total}: {told}{rest}")
        elif progress.stage != self._stage:
            self._say(progress.stage)
        self._stage = progress.stage

    def _say(self, line: str) -> None:
        print(printable(line), file=self._out, flush=True)


@click.group()
def training() -> None:
    """The full training of one network from nothing."""


@training.command("resume")
@click.argument("name", shell_complete=complete_names("Training"))
@output_option()
def resume_training(name: str, output: str | None) -> None:
    """Go on with training NAME from its last epoch, however it ended.

    Ctrl-C keeps every epoch that is over.
    """
    with stop_on_interrupt() as stop, progress_bar(f"Training {name}") as advance:

        def show(progress: TrainingProgress) -> None:
            if progress.total:
                advance(progress.done, progress.total)

        report = verbs().resume_training(name, progress=show, stop_requested=stop)
    if output:
        print_structured(report, output)
        return
    click.echo(
        f"training/{report.training}: {report.epochs} epochs, {report.metric} "
        f"{report.value:.4f} ({report.seconds:.0f} s)"
    )
    if report.model:
        click.echo(f"next: strandline evaluate {report.model} --report report.html")


@search.command("cell")
@click.argument("name", shell_complete=complete_names("Search"))
@click.option("--trial", type=click.IntRange(min=0), default=None, help="Trial; the best if absent")
@click.option(
    "--draw",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write a drawing of the cell to this SVG file.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@output_option()
def show_cell(
    name: str, trial: int | None, draw: Path | None, force: bool, output: str | None
) -> None:
    """Show the cell that search NAME found, and draw it.

    \b
    strandline search cell cifar --draw cell.svg
    strandline search cell cifar -o json > cell.json
    """
    from strandline.cells.registry import family

    found = verbs().found_cell(name, trial=trial)
    kind = family(found.family.value)
    if draw is not None:
        if draw.exists() and not force:
            raise AlreadyExistsError(f"{draw} is there already: --force replaces it")
        draw.write_text(kind.draw(found.decisions), encoding="utf-8")
        note(f"wrote {draw}")
    if output:
        print_structured(kind.to_json(found.decisions), output)
        return
    assert found.trial is not None, "the cell of a search comes from a trial"
    click.echo(f"search/{name} trial {found.trial.number}: a cell of {found.family.value}")
    for metric, value in sorted(found.trial.metrics.items()):
        click.echo(f"  {metric:<20} {value:.6g}")
    for decision, choice in found.decisions.items():
        click.echo(f"  {decision:<28} {choice}")


COMMANDS = (training,)
