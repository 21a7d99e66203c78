"""`strandline search progress`: how a search stands, in the terminal or as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strandline.cli.completion import complete_names
from strandline.cli.learning import search
from strandline.cli.output import note, output_option, print_structured, printable, table_lines
from strandline.cli.verbs import verbs
from strandline.spec.errors import AlreadyExistsError

if TYPE_CHECKING:
    from strandline.spec.progress import ProgressReport

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH, _BAR_WIDTH, _MOST_CHOICES, _MOST_FRONT = 60, 20, 12, 12


@search.command("progress")
@click.argument("name", shell_complete=complete_names("Search"))
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="Write a page with plots to this HTML file.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@output_option()
def show_progress(name: str, report: Path | None, force: bool, output: str | None) -> None:
    """Show how search NAME stands: its best value and where that will get to, what each
    choice decided, the trials that no other one betters, and why trials died.

    \b
    strandline search progress birds
    strandline search progress birds --report progress.html
    """
    if report is not None and report.exists() and not force:
        raise AlreadyExistsError(f"{report} is there already: --force replaces it")
    found = verbs().search_progress(name, report=report)
    if report is not None:
        note(f"wrote {report}")
    if output:
        print_structured(found, output)
        return
    for line in _lines(found):
        click.echo(printable(line))


def _lines(found: ProgressReport) -> Iterator[str]:
    states = [f"{count} {state.value}" for state, count in found.counts.items() if count]
    yield f"search/{found.search}: {', '.join(states) or 'no trials yet'}"
    if found.best is not None:
        yield f"best {found.metric} {found.best.value:.4f} (trial {found.best.trial})"
        yield f"  {_curve(found)}"
    yield from _outlook(found)
    yield from _choices(found)
    yield from _front(found)
    yield from _reranked(found)
    for group in found.failures:
        yield f"{group.count} died: {group.kind.value}, trial {group.trials[-1]}: {group.message}"
        yield f"  {group.advice}"


def _curve(found: ProgressReport) -> str:
    """Return the best value over the trials as a line of blocks."""
    total = max(sum(found.counts.values()), found.curve[-1].ended)
    values = [point.value for point in found.curve]
    low, span = min(values), max(values) - min(values)
    width = min(_CURVE_WIDTH, total)
    told = []
    for column in range(width):
        ended = (column + 1) * total / width
        known = [point.value for point in found.curve if point.ended <= ended]
        level = (known[-1] - low) / span if known and span else 0.0
        told.append(_BLOCKS[round(level * (len(_BLOCKS) - 1))] if known else " ")
    return "".join(told)


def _outlook(found: ProgressReport) -> Iterator[str]:
    if found.at_budget is None and found.at_double is None:
        yield f"no forecast: {found.no_forecast}"
        return
    for name, each in (("at the end", found.at_budget), ("twice the budget", found.at_double)):
        if each is not None:
            yield (
                f"{name}: {each.value:.4f}, in four of five searches {each.low:.4f} to "
                f"{each.high:.4f} ({each.trials} trials)"
            )


def _choices(found: ProgressReport) -> Iterator[str]:
    if not found.importances:
        return
    yield "what each choice decided, of the differences between trials:"
    rows = [
        [
            f"  {each.name}",
            "█" * round(_BAR_WIDTH * each.share) or "▏",
            f"{each.share:.0%}",
            f"({each.low:.0%} to {each.high:.0%})",
        ]
        for each in found.importances[:_MOST_CHOICES]
    ]
    yield from table_lines(("  CHOICE", "SHARE", "", "95% INTERVAL"), rows)
    if len(found.importances) > _MOST_CHOICES:
        yield f"  and {len(found.importances) - _MOST_CHOICES} more: -o json shows all"


def _front(found: ProgressReport) -> Iterator[str]:
    if not found.front:
        return
    yield "trials that no other one betters:"
    metrics = list(found.front[0].values)
    rows = [
        [str(t.trial), *(f"{t.values[m]:.6g}" for m in metrics), "" if t.within_limits else "no"]
        for t in found.front[:_MOST_FRONT]
    ]
    yield from table_lines(("TRIAL", *(m.upper() for m in metrics), "WITHIN LIMITS"), rows)
    if len(found.front) > _MOST_FRONT:
        yield f"and {len(found.front) - _MOST_FRONT} more: -o json shows all"


def _reranked(found: ProgressReport) -> Iterator[str]:
    if found.reranked:
        yield "after full training, the chosen trial first:"
        rows = [
            [str(t.trial), f"{t.value:.4f}", "" if t.searched is None else f"{t.searched:.4f}"]
            for t in found.reranked
        ]
        yield from table_lines(("TRIAL", found.metric.upper(), "IN THE SEARCH"), rows)
    if found.proxy is not None:
        yield found.proxy.in_words()


COMMANDS: tuple[click.Command, ...] = ()
"""It joins the group `search`."""
