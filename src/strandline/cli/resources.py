"""kubectl's habits, on a laptop and on a cluster: apply, get, describe, delete, wait, logs.

The command functions read the command line and print; what is behind each option stands
in the other `resource_*` modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from strandline.cli.completion import complete_names
from strandline.cli.output import note, print_table
from strandline.cli.place import Place, open_place
from strandline.cli.resource_apply import apply
from strandline.cli.resource_delete import delete
from strandline.cli.resource_get import describe, get
from strandline.cli.resource_options import selector_option, targets_argument
from strandline.cli.run_job import run_job
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.naming import JOB_KINDS, Scope
from strandline.spec.v1alpha1 import KINDS

if TYPE_CHECKING:
    from strandline.cli.resource_names import Requirement, Target


@click.command()
@targets_argument
@selector_option
@click.option("--all", "everything", is_flag=True, help="All objects of the kind.")
@click.option(
    "--for",
    "goal_text",
    required=True,
    metavar="GOAL",
    help="condition=Complete, condition=Ready=False, delete or jsonpath='{.path}'=value.",
)
@click.option("--timeout", default="30s", show_default=True, help="0 looks once, -1 a week.")
def wait(
    words: tuple[str, ...],
    selector: str | None,
    everything: bool,
    goal_text: str,
    timeout: str,
) -> None:
    """Wait until objects are as asked; exit 1 when they are not in time.

    Waiting for Complete or Ready ends at once, with exit code 12, when the object failed.
    """
    from strandline.cli.resource_names import read_selector, read_targets
    from strandline.cli.resource_wait import read_goal, read_timeout, wait_for

    goal, limit = read_goal(goal_text), read_timeout(timeout) or timedelta(0)
    place = open_place()
    targets = _awaited(place, read_targets(words), read_selector(selector), everything)
    if not goal.deletion:
        _pick_up(place, targets)
    deadline = place.clock.monotonic() + limit.total_seconds()
    for target in targets:
        wait_for(place.states(target, deadline), target, goal)
        click.echo(f"{target} {'deleted' if goal.deletion else 'condition met'}")


def _awaited(
    place: Place,
    targets: Sequence[Target],
    requirements: Sequence[Requirement],
    everything: bool,
) -> list[Target]:
    from strandline.cli.resource_names import Target, select

    if any(target.name is None for target in targets) and not (requirements or everything):
        raise click.UsageError("name the objects to wait for, select them with -l, or say --all")
    awaited: list[Target] = []
    for target in targets:
        if target.name is not None:
            awaited.append(target)
            continue
        listed = select(place, target.kind, requirements)
        awaited += [Target(each.kind, each.name) for each in listed]
    return awaited


def _pick_up(place: Place, targets: Sequence[Target]) -> None:
    """Have that gone on with which a killed agent or job left behind."""
    from strandline.cli.resource_names import resolve

    found, missing = resolve(place, targets)
    if missing:
        raise NotFoundError("; ".join(missing))
    place.pick_up(found)


@click.command()
@click.argument("word", metavar="KIND/NAME", shell_complete=complete_names("Search"))
@click.option("-f", "--follow", "follow_it", is_flag=True, help="Go on until the job is over.")
@click.option("--tail", "lines", type=int, default=-1, help="Last lines only; -1: all.")
@click.option(
    "-p",
    "--previous",
    is_flag=True,
    help="The older part of a long log; on a cluster, of the attempt before.",
)
def logs(word: str, follow_it: bool, lines: int, previous: bool) -> None:
    """Print what the job of an object said: `strandline logs search/coast-quick -f`."""
    from strandline.cli.resource_logs import readable
    from strandline.cli.resource_names import Target, find_kind, read_targets

    target = read_targets([word])[0] if "/" in word else Target(find_kind("search"), word)
    if target.name is None or target.kind not in JOB_KINDS:
        raise InvalidSpecError(
            "logs are of one job: write search/NAME, training/NAME or dataset/NAME"
        )
    place = open_place()
    resource = place.get(target.kind, target.name)
    said = place.log(resource, lines, previous, follow_it)
    if said is None:
        note(f"{target} has no {'older log' if previous else 'log yet'}")
        return
    for text in readable(said):
        click.echo(text, nl=False)


@click.command("api-resources")
def api_resources() -> None:
    """List the kinds, their short names and what they are."""
    rows = [
        (
            model.names.plural,
            ",".join(model.names.short),
            str(model.names.scope is Scope.NAMESPACED).lower(),
            kind,
            (model.__doc__ or "").splitlines()[0],
        )
        for kind, model in KINDS.items()
    ]
    print_table(("NAME", "SHORTNAMES", "NAMESPACED", "KIND", "MEANING"), rows)


COMMANDS: tuple[click.Command, ...] = (
    apply,
    get,
    describe,
    delete,
    wait,
    logs,
    api_resources,
    run_job,
)
