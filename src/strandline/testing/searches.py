"""Whole searches in a test: real engine, journal and catalog, trials that only compute."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strandline.adapters.files import FileStore
from strandline.adapters.sql import SqlCatalog, open_catalog
from strandline.jobs.search import SearchOutcome, run_search
from strandline.ports import Assignment, StepReport
from strandline.search.space import Float, Space
from strandline.spec.records import Scalar
from strandline.spec.v1alpha1 import SearchSpec
from strandline.testing.fake_clock import FakeClock
from strandline.testing.inline_runner import InlineRunner

LINE = Space((Float("x", 0.0, 1.0),))
UID = "search-1"


def make_search_spec(**fields: Any) -> SearchSpec:
    """Build a minimal search: four random trials, none ended early, `score` to maximize."""
    defaults: dict[str, Any] = {
        "dataset": {"name": "coast"},
        "objectives": [{"metric": "score", "goal": "maximize"}],
        "algorithm": {"name": "random"},
        "earlyStopping": {"name": "none"},
        "budget": {"trials": 4},
    }
    return SearchSpec.model_validate({**defaults, **fields})


def score_x(candidate: Mapping[str, Scalar]) -> float:
    """Score a candidate by its parameter `x`."""
    return float(str(candidate["x"]))


@dataclass
class CurveTrials:
    """A `ports.Trainable` whose score rises towards `score(candidate)` over `steps` steps.

    Each step's score depends on all before it, so a trial that goes on from the wrong
    checkpoint ends elsewhere.

    Attributes:
        clock: moves on by `seconds` in each step.
        tried: the candidates taken up from their start.
    """

    clock: FakeClock
    score: Callable[[Mapping[str, Scalar]], float] = score_x
    steps: int = 1
    seconds: float = 1.0
    tried: list[Mapping[str, Scalar]] = field(default_factory=list)

    def __call__(self) -> CurveTrials:
        return self

    def reset(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._step, self._score = json.loads(assignment.checkpoint or b"[0, 0.0]")
        if not self._step:
            self.tried.append(assignment.candidate)

    def step(self) -> StepReport:
        if self._step < self.steps:  # else taken up after its end: it is told once more
            self.clock.advance(self.seconds)
            self._step += 1
            score = self.score(self._assignment.candidate)
            self._score = score if self.steps == 1 else 0.5 * (self._score + score)
        return StepReport(
            self._assignment.number,
            self._step,
            {"score": self._score},
            done=self._step >= self.steps,
            seconds=0.0,
            checkpoint=json.dumps([self._step, self._score]).encode(),
        )


class SearchPlace:
    """A catalog and a store in `folder`, in which a search is run again and again."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.catalog: SqlCatalog = open_catalog(f"sqlite:///{folder / 'catalog.sqlite'}")
        self.store = FileStore(folder / "store")

    def run(
        self,
        spec: SearchSpec,
        trials: CurveTrials | None = None,
        *,
        space: Space = LINE,
        defaults: Sequence[Mapping[str, Scalar]] = (),
        **ports: Any,
    ) -> SearchOutcome:
        """Run the search, or go on with it; `ports` replaces arguments of `run_search`."""
        given = {
            "catalog": self.catalog,
            "store": self.store,
            "runner": InlineRunner(),
            "clock": self.clock,
            **ports,
        }
        return run_search(UID, spec, space, defaults, trials or CurveTrials(self.clock), **given)


class PowerCut(BaseException):
    """The process is gone; no code of ours may handle it."""


class CutOff:
    """Stands before a port and, from the write number `allowed` on, writes nothing.

    One counter may be shared by several ports, as one process writes to all of them.
    """

    def __init__(self, port: Any, writes: frozenset[str], left: list[int]) -> None:
        self._port = port
        self._writes = writes
        self._left = left

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if name not in self._writes:
            return attribute

        def write(*values: Any, **named: Any) -> Any:
            if self._left[0] == 0:
                raise PowerCut
            self._left[0] -= 1
            return attribute(*values, **named)

        return write


def cut_off_after(place: SearchPlace, allowed: int) -> dict[str, Any]:
    """Return the ports of `place`, dead after `allowed` writes to any of them."""
    left = [allowed]
    rows = frozenset({"record_trial", "record_metrics", "swap_pointer"})
    return {
        "catalog": CutOff(place.catalog, rows, left),
        "store": CutOff(place.store, frozenset({"put", "delete"}), left),
    }
