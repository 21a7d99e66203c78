"""The view of a running search: what a person reads, and what a terminal must not obey."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from strandline.cli import search_table
from strandline.jobs.search import SearchProgress
from strandline.spec.records import Failure, FailureKind, Trial, TrialState


def ended(number: int, value: float | None, failure: Failure | None = None) -> Trial:
    return Trial(
        search="uid",
        number=number,
        candidate={"head": "mlp", "rate": 0.00123456},
        state=TrialState.FAILED if failure else TrialState.COMPLETED,
        metrics={} if value is None else {"val/acc": value},
        failure=failure,
        seconds=1.25,
        ended_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def progress(
    trial: Trial | None, best: Trial | None = None, *, stage: str = "searching"
) -> SearchProgress:
    return SearchProgress(
        trial=trial,
        best=best,
        counts={TrialState.COMPLETED: 3, TrialState.FAILED: 0},
        elapsed_seconds=75.0,
        seconds_left=3600.0,
        value_name="val/acc",
        stage=stage,
    )


def lines_of(*shown: tuple[float, SearchProgress]) -> list[str]:
    out = io.StringIO()
    clock = {"now": 0.0}
    lines = search_table.SparseLines(out, lambda: clock["now"])
    for moment, each in shown:
        clock["now"] = moment
        lines.show(each)
    return out.getvalue().splitlines()


def test_a_trial_that_ended_gets_a_line_with_value_counts_and_what_is_left() -> None:
    best = ended(0, 0.5)
    _, line = lines_of((0.0, progress(best, best)))
    for part in ("trial 0 completed val/acc 0.5000", "3 completed", "1m15s elapsed", "1h00m left"):
        assert part in line


def test_many_trials_in_a_moment_get_few_lines() -> None:
    best = ended(0, 0.9)
    shown = [(0.01 * n, progress(ended(n, 0.5), best)) for n in range(100)]
    assert len(lines_of(*shown)) == 2  # the stage, and one trial


def test_a_failure_and_a_new_best_are_never_left_out() -> None:
    best, better = ended(0, 0.5), ended(1, 0.6)
    failed = ended(2, None, Failure(kind=FailureKind.CRASH, message="gone"))
    lines = lines_of(
        (0.0, progress(best, best)),
        (0.1, progress(better, better)),
        (0.2, progress(failed, better)),
    )
    assert "trial 1 completed" in lines[2]
    assert "crash: gone" in lines[3]


def test_running_trials_and_repeated_stages_say_nothing() -> None:
    running = ended(0, 0.5).model_copy(update={"ended_at": None})
    assert len(lines_of((0.0, progress(running)), (9.0, progress(running)))) == 1


def test_each_stage_is_announced_once() -> None:
    lines = lines_of(
        (0.0, progress(None, stage="refitting")),
        (1.0, progress(None, stage="refitting")),
        (2.0, progress(None, stage="evaluating")),
    )
    assert [line.split()[0] for line in lines] == ["refitting", "evaluating"]


def test_a_long_stage_tells_every_ten_seconds_how_far_it_is() -> None:
    steps = [
        (float(moment), replace(progress(None, stage="evaluating"), done=moment, total=40))
        for moment in range(25)
    ]
    assert lines_of(*steps) == [
        "evaluating (1m15s so far)",
        "evaluating 10/40; about 1h00m left",
        "evaluating 20/40; about 1h00m left",
    ]
    steps = [(moment, replace(each, seconds_left=None)) for moment, each in steps]
    assert lines_of(*steps)[1:] == ["evaluating 10/40", "evaluating 20/40"]


def test_control_characters_are_shown_not_obeyed() -> None:
    failed = ended(0, None, Failure(kind=FailureKind.ERROR, message="a\x1b[2Jb"))
    *_, line = lines_of((0.0, progress(failed)))
    assert "\x1b" not in line
    recent = search_table.RecentTrials()
    recent.add(progress(failed, failed))
    console = Console(file=io.StringIO(), width=200)
    console.print(search_table.render(recent))
    assert isinstance(console.file, io.StringIO)
    assert "\x1b" not in console.file.getvalue()
    assert "[2J" in console.file.getvalue()


def test_the_table_keeps_the_trials_that_changed_last() -> None:
    recent = search_table.RecentTrials()
    for number in range(30):
        recent.add(progress(ended(number, 0.1 * number)))
    assert [row[0] for row in recent.rows()] == [str(n) for n in range(18, 30)]


def test_the_live_table_shows_header_best_and_rows() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    best = ended(3, 0.75)
    with search_table._live_table(console) as show:
        show(progress(best, best))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("searching", "best: head=mlp rate=0.00123", "0.7500", "CANDIDATE"):
        assert part in text


def test_without_a_terminal_the_view_prints_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with search_table.search_view() as show:
        show(progress(ended(0, 0.5)))
    assert "trial 0 completed" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (185, "3m05s"), (7620, "2h07m")]
)
def test_durations_are_spelled_as_said(seconds: float, text: str) -> None:
    assert search_table.spell_seconds(seconds) == text


def test_an_early_value_says_how_early() -> None:
    trial = ended(3, 0.97).model_copy(update={"state": TrialState.PRUNED, "step": 2})
    told = search_table.describe_trial(trial, "val/acc")
    assert told.startswith("trial 3 pruned val/acc 0.9700 at step 2 in 1.2 s")
