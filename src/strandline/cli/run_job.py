"""`strandline run-job KIND/NAME`: what the agent starts, once an object. Not for people.

The log of the job is what it prints; its exit code tells the agent whether trying again
can help (`docs/reference/errors.md`).
"""

from __future__ import annotations

import sys

import click

from strandline.cli.interrupts import stop_on_interrupt
from strandline.cli.networks import TrainingLines
from strandline.cli.progress import progress_bar
from strandline.cli.search_table import search_view
from strandline.spec.errors import EmptyImportError, InvalidSpecError


@click.command("run-job", hidden=True)
@click.argument("word", metavar="KIND/NAME")
def run_job(word: str) -> None:
    """Run the job of one object to its end and write its status."""
    from strandline import api, compose
    from strandline.api.job_reports import report_line
    from strandline.cli.resource_names import read_targets

    (target,) = read_targets([word])
    if target.name is None:
        raise InvalidSpecError("name one object: KIND/NAME")
    place = compose.local()
    resource = place.catalog.get_resource(target.kind, target.name)
    with (
        compose.claim_run(place, resource),
        stop_on_interrupt() as stop,
        progress_bar(f"Importing {resource.name}") as importing,
        search_view() as searching,
    ):
        views = api.JobViews(importing, searching, TrainingLines(sys.stderr).show)
        try:
            report = api.run_job(
                resource.kind, resource.name, views=views, stop_requested=stop, platform=place
            )
        except EmptyImportError as error:
            click.echo(report_line(error.report))
            raise
    click.echo(report_line(report))
