"""Trials that do what their candidate says, and a source that hands them out and watches.

With these two a test drives any `ports.TrialRunner` through whatever can happen to a
trial, and compares what happened with what the runner told.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strandline.ports import HERE, Assignment, StepReport, Workplace
from strandline.spec.records import Failure, Scalar

FOREVER_SECONDS = 900
_LONGEST_MEETING_SECONDS = 120.0


class ScriptedTrials:
    """A `ports.Trainable` whose candidates hold what to do: `do`, `steps`, `folder`.

    `do` is one of the methods below. A trial has `steps` steps (1 if absent); each gives
    its number as metric `value` and the number's digits as checkpoint. Where something
    goes wrong it does in the first step.
    """

    def reset(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._step = int(assignment.checkpoint or b"0")

    def step(self) -> StepReport:
        self._step += 1
        candidate = self._assignment.candidate
        metrics = {"value": float(self._step)}
        action: Callable[[], Mapping[str, float] | None]
        action = getattr(self, f"do_{candidate.get('do', 'nothing')}")
        metrics |= action() or {}
        return StepReport(
            self._assignment.number,
            self._step,
            metrics,
            done=self._step >= int(str(candidate.get("steps", 1))),
            seconds=0.0,
            checkpoint=str(self._step).encode(),
        )

    def do_nothing(self) -> None:
        """Just give the value."""

    def do_raise(self) -> None:
        """Fail as code does."""
        raise ValueError("first line\nno such colour")

    def do_run_out_of_memory(self) -> None:
        """Fail as an allocation does."""
        raise MemoryError("cannot allocate 3 TiB")

    def do_diverge(self) -> Mapping[str, float]:
        """Give a value that is not a number."""
        return {"value": float("nan")}

    def do_exit(self) -> None:
        """End the process as a library does that gives up."""
        os._exit(3)

    def do_kill(self) -> None:
        """End the process as the kernel does."""
        os.kill(os.getpid(), signal.SIGKILL)

    def do_hold(self) -> None:
        """Never come back, and let no other Python code run meanwhile."""
        ctypes.PyDLL(None).sleep(FOREVER_SECONDS)

    def do_sleep(self) -> None:
        """Tell that the step began, and stay in it."""
        self._mark()
        time.sleep(FOREVER_SECONDS)

    def do_meet(self) -> None:
        """Come back when another trial is inside this at the same time."""
        folder = self._mark()
        give_up = time.monotonic() + _LONGEST_MEETING_SECONDS
        while len(list(folder.iterdir())) < 2:
            if time.monotonic() > give_up:
                raise TimeoutError("nobody came")
            time.sleep(0.02)

    def do_tell_process(self) -> Mapping[str, float]:
        """Give the number of the process."""
        return {"process": float(os.getpid())}

    def _mark(self) -> Path:
        folder = Path(str(self._assignment.candidate["folder"]))
        (folder / str(self._assignment.number)).touch()
        return folder


def fail_to_start() -> Any:
    """Be a factory that cannot make its trainable."""
    raise RuntimeError("no weights here")


def die_at_start() -> Any:
    """Be a factory whose process dies, as when a library of it does."""
    os._exit(4)


@dataclass
class ScriptedSource:
    """A `ports.TrialSource` that hands out `candidates` in order and keeps what it is told.

    Attributes:
        prune: (trial, step) after which the trial is not to go on.
        checkpoints: by trial: what an earlier worker left.
        stop_when: asked in `should_stop`.
        on_report: called with each report before it is taken.
    """

    candidates: Sequence[Mapping[str, Scalar]]
    prune: frozenset[tuple[int, int]] = frozenset()
    checkpoints: Mapping[int, bytes] = field(default_factory=dict)
    stop_when: Callable[[], bool] = lambda: False
    on_report: Callable[[StepReport], None] = lambda report: None
    assigned: int = 0
    reports: list[StepReport] = field(default_factory=list)
    failures: dict[int, list[Failure]] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    places: list[Workplace] = field(default_factory=list)

    def next_assignment(self, place: Workplace = HERE) -> Assignment | None:
        self.threads.add(threading.get_ident())
        if self.assigned == len(self.candidates):
            return None
        number = self.assigned
        self.assigned += 1
        self.places.append(place)
        saved = self.checkpoints.get(number)
        return Assignment(number, self.candidates[number], int(saved or 0), saved)

    def finished(self) -> bool:
        self.threads.add(threading.get_ident())
        return self.assigned == len(self.candidates)

    def report(self, report: StepReport) -> bool:
        self.threads.add(threading.get_ident())
        self.on_report(report)
        self.reports.append(report)
        goes_on = not report.done and (report.number, report.step) not in self.prune
        if not goes_on:
            self.ended.append(report.number)
        return goes_on

    def fail(self, number: int, failure: Failure) -> None:
        self.threads.add(threading.get_ident())
        self.failures.setdefault(number, []).append(failure)
        self.ended.append(number)

    def should_stop(self) -> bool:
        self.threads.add(threading.get_ident())
        return self.stop_when()

    def steps(self, number: int) -> list[int]:
        """Return the steps that trial `number` reported, in the order they came."""
        return [report.step for report in self.reports if report.number == number]

    def metrics(self, number: int) -> Mapping[str, float]:
        """Return what trial `number` reported last."""
        return [report for report in self.reports if report.number == number][-1].metrics
