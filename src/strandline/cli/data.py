"""`strandline import` and `strandline datasets`."""

from __future__ import annotations

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
from strandline.spec.records import ImportReport
from strandline.spec.v1alpha1 import SourceFormat, TaskChoice

_REFUSALS_SHOWN = 20


@click.command("import")
@click.argument("name", shell_complete=complete_names("Dataset"))
@click.argument("source")
@click.option(
    "--format",
    "source_format",
    type=click.Choice([each.value for each in SourceFormat]),
    default=SourceFormat.AUTO.value,
    show_default=True,
    help="Layout of the source.",
)
@click.option(
    "--task",
    type=click.Choice([each.value for each in TaskChoice]),
    default=TaskChoice.AUTO.value,
    show_default=True,
    help="One label an image, or any number.",
)
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False),
    default=None,
    help="Folder that the paths in a table are relative to (default: the table's own).",
)
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Decoding processes.")
@output_option()
def import_command(
    name: str,
    source: str,
    source_format: str,
    task: str,
    root: str | None,
    workers: int | None,
    output: str | None,
) -> None:
    """Import images and labels from SOURCE as a new version of dataset NAME.

    SOURCE is a folder with one folder a label, a zip of one, an AutoML CSV, a Vertex AI
    JSONL or a Label Studio JSON file; a path, file:// or s3:// address. Importing the
    same again changes nothing; an interrupted import goes on where it stopped.
    """
    from strandline.spec.errors import EmptyImportError

    with stop_on_interrupt() as stop, progress_bar(f"Importing {name}") as advance:
        try:
            report = verbs().import_dataset(
                name,
                source,
                format=source_format,
                task=task,
                root=root,
                workers=workers,
                progress=advance,
                stop_requested=stop,
            )
        except EmptyImportError as error:
            if output:  # the reason of each file is the result; the exit code says the rest
                print_structured(error.report, output)
            raise
    if output:
        print_structured(report, output)
    else:
        _print_report(report)


def _print_report(report: ImportReport) -> None:
    labels = ", ".join(printable(label) for label in report.labels[:8])
    more = f" and {len(report.labels) - 8} more" if len(report.labels) > 8 else ""
    click.echo(
        f"dataset/{report.dataset} version {report.version}: {report.items} images, "
        f"{len(report.labels)} labels ({labels}{more})"
    )
    if report.exact_duplicates:
        click.echo(f"{report.exact_duplicates} exact duplicates merged")
    if report.near_duplicate_groups:
        click.echo(
            f"{report.near_duplicate_groups} groups of near-duplicates kept together in the split"
        )
    for warning in report.warnings[:_REFUSALS_SHOWN]:
        note(f"warning: {printable(warning)}")
    if report.refused:
        click.echo(f"{len(report.refused)} refused; the rest was imported:")
        rows = [(refusal.source, refusal.reason) for refusal in report.refused]
        print_table(("SOURCE", "REASON"), rows[:_REFUSALS_SHOWN])
        if len(rows) > _REFUSALS_SHOWN:
            click.echo(f"… {len(rows) - _REFUSALS_SHOWN} more; -o json lists all")


@click.group()
def datasets() -> None:
    """Datasets that were imported."""


@datasets.command("list")
@output_option()
def list_datasets(output: str | None) -> None:
    """List datasets, each with its newest version."""
    versions = verbs().list_datasets()
    if output:
        print_structured(versions, output)
        return
    print_table(
        ("NAME", "VERSION", "TASK", "ITEMS", "LABELED", "LABELS", "CREATED"),
        [
            (
                v["dataset"],
                v["version"],
                v["task"] or "",
                v["items"],
                v["labeled"],
                count_labels(v),
                minute(v["created_at"]),
            )
            for v in map(plain, versions)
        ],
    )


COMMANDS = (import_command, datasets)
