"""What a person sees while a search runs: a live table, or sparse lines in a log.

A search tells of every trial that changed. In a terminal that becomes one table on
stderr; elsewhere (a file, CI, a pod) a line for each trial that ended, not too many.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from strandline.cli.output import printable
from strandline.spec.records import Scalar, Trial, TrialState

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from strandline.jobs.search import SearchProgress

    Show = Callable[[SearchProgress], None]

_ROWS = 12
_LINE_INTERVAL_SECONDS = 2.0
_STEP_INTERVAL_SECONDS = 10.0
_LONGEST_CANDIDATE = 60
_LONGEST_FAILURE = 60
_HEADINGS = ("#", "STATE", "CANDIDATE", "STEP", "VALUE", "SECONDS", "WHY")


@contextmanager
def search_view() -> Iterator[Show]:
    """Show a search on stderr while the block runs; call it with each progress."""
    if sys.stderr.isatty():
        with _live_table() as show:
            yield show
    else:
        yield SparseLines(sys.stderr, time.monotonic).show


class SparseLines:
    """One plain line for each trial that ended, at most one in so many seconds.

    What a quiet moment left out shows in the counts of the next line; failures and new
    bests are never left out.
    """

    def __init__(self, out: TextIO, monotonic: Callable[[], float]) -> None:
        self._out = out
        self._monotonic = monotonic
        self._last = self._stepped = -_LINE_INTERVAL_SECONDS
        self._best: int | None = None
        self._stage = ""

    def show(self, progress: SearchProgress) -> None:
        """Print what is worth a line."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._stepped = self._monotonic()
            self._say(f"{progress.stage} ({spell_seconds(progress.elapsed_seconds)} so far)")
        trial = progress.trial
        if trial is None and (progress.total or progress.done):
            self._say_step(progress)
        if trial is None or trial.ended_at is None:
            return
        new_best = progress.best is not None and progress.best.number != self._best
        now = self._monotonic()
        quiet = now - self._last < _LINE_INTERVAL_SECONDS
        if quiet and not new_best and trial.state is not TrialState.FAILED:
            return
        self._last = now
        self._best = progress.best.number if progress.best else None
        self._say(f"{describe_trial(trial, progress.value_name)} – {describe_search(progress)}")

    def _say_step(self, progress: SearchProgress) -> None:
        now = self._monotonic()
        if now - self._stepped >= _STEP_INTERVAL_SECONDS:
            self._stepped = now
            text = stage_text(progress)
            if progress.stage == "searching":  # told from afar, without its trials
                text += f": {describe_search(progress)}"
            elif progress.seconds_left is not None:
                text += f"; about {spell_seconds(progress.seconds_left)} left"
            self._say(text)

    def _say(self, line: str) -> None:
        print(printable(line), file=self._out, flush=True)


class RecentTrials:
    """The last trials that changed, by number, and the newest progress."""

    def __init__(self) -> None:
        self.progress: SearchProgress | None = None
        self.told_at = time.monotonic()
        self._trials: OrderedDict[int, Trial] = OrderedDict()

    def add(self, progress: SearchProgress) -> None:
        """Take note of a change."""
        self.progress = progress
        self.told_at = time.monotonic()
        if progress.trial is None:
            return
        self._trials[progress.trial.number] = progress.trial
        self._trials.move_to_end(progress.trial.number)
        while len(self._trials) > _ROWS:
            self._trials.popitem(last=False)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, escaped, oldest trial first."""
        if self.progress is None:
            return []
        name = self.progress.value_name
        return [
            tuple(printable(cell) for cell in trial_cells(self._trials[number], name))
            for number in sorted(self._trials)
        ]


def trial_cells(trial: Trial, value_name: str) -> tuple[str, ...]:
    """Return one row: what the headings name."""
    value = trial.metrics.get(value_name)
    return (
        str(trial.number),
        trial.state.value,
        shorten_candidate(trial.candidate),
        str(trial.step),
        "" if value is None else f"{value:.4f}",
        f"{trial.seconds:.1f}",
        _failure_text(trial),
    )


def stage_text(progress: SearchProgress) -> str:
    """Say what is going on, and how far it is where that is counted."""
    counted = f" {progress.done}/{progress.total}" if progress.total else ""
    return progress.stage + counted


def describe_trial(trial: Trial, value_name: str) -> str:
    """Say in one phrase how a trial ended."""
    value = trial.metrics.get(value_name)
    told = _failure_text(trial) or ("" if value is None else f"{value_name} {value:.4f}")
    if trial.state is TrialState.PRUNED:
        told += f" at step {trial.step}"  # no value to hold against those of full trials
    candidate = shorten_candidate(trial.candidate)
    return f"trial {trial.number} {trial.state} {told} in {trial.seconds:.1f} s ({candidate})"


def describe_search(progress: SearchProgress, since: float = 0.0) -> str:
    """Say in one phrase where the search stands, `since` seconds after it was told."""
    counts = ", ".join(f"{n} {state}" for state, n in progress.counts.items() if n)
    parts = [counts or "no trial yet", f"{spell_seconds(progress.elapsed_seconds + since)} elapsed"]
    if progress.seconds_left is not None:
        parts.append(f"about {spell_seconds(progress.seconds_left - since)} left")
    best = progress.best
    if best is not None and progress.value_name in best.metrics:
        value = best.metrics[progress.value_name]
        parts.append(f"best {progress.value_name} {value:.4f} (trial {best.number})")
    return "; ".join(parts)


def shorten_candidate(candidate: Mapping[str, Scalar]) -> str:
    """Return `name=value …` in little room."""
    text = " ".join(f"{name}={_short_value(value)}" for name, value in candidate.items())
    return _cut(text, _LONGEST_CANDIDATE)


def spell_seconds(seconds: float) -> str:
    """Return a duration as a person says it: 42s, 3m05s, 2h07m."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _short_value(value: Scalar) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _failure_text(trial: Trial) -> str:
    if trial.failure is None:
        return ""
    return _cut(f"{trial.failure.kind}: {trial.failure.message}", _LONGEST_FAILURE)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


@contextmanager
def _live_table(console: Console | None = None) -> Iterator[Show]:
    from rich.console import Console
    from rich.live import Live

    recent = RecentTrials()
    with Live(
        console=console or Console(stderr=True),
        get_renderable=lambda: render(recent),
        refresh_per_second=4,
        redirect_stdout=False,
        redirect_stderr=True,  # a warning goes above the table instead of through it
    ):
        yield recent.add


def render(recent: RecentTrials) -> RenderableType:
    """Return the header and the table for rich."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if recent.progress is None:
        return Text("starting …")
    progress = recent.progress
    state = describe_search(progress, since=time.monotonic() - recent.told_at)
    header = [Text(printable(f"{stage_text(progress)}: {state}"))]
    if progress.best is not None and progress.best.candidate:
        header.append(Text(printable(f"best: {shorten_candidate(progress.best.candidate)}")))
    table = Table(box=None, pad_edge=False)
    for heading in _HEADINGS:
        right = heading in ("#", "STEP", "VALUE", "SECONDS")
        wraps = heading not in ("CANDIDATE", "WHY")
        table.add_column(heading, justify="right" if right else "left", no_wrap=wraps)
    for cells in recent.rows():
        # Text, not markup: a label may contain brackets.
        table.add_row(*(Text(cell, overflow="ellipsis") for cell in cells))
    return Group(*header, table)
