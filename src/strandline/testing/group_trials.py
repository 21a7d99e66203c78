"""What several workers do together, and who hands it out: to drive any `ports.GroupRunner`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from strandline.jobs.search_journal import CatalogJournal
from strandline.jobs.training_source import TrainingSource
from strandline.ports import Assignment, StepReport
from strandline.spec.records import Scalar
from strandline.testing.scripted_trials import ScriptedSource
from strandline.testing.searches import SearchPlace


@dataclass
class Together:
    """A trainable whose every step is a sum over all workers.

    Attributes:
        folder: a file in it says for each step who did it; one called `enough` ends it.
        seconds: that a step takes.
        die: (rank, step) in which a process ends, once.
    """

    folder: Path
    seconds: float = 0.0
    die: tuple[int, int] = (-1, -1)

    def __call__(self) -> Together:
        return self

    def reset(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._step = int(assignment.checkpoint or b"0")

    def step(self) -> StepReport:
        import torch
        from torch import distributed

        given, once = self._assignment, self.folder / "died"
        self._step += 1
        if (given.rank, self._step) == self.die and not once.exists():
            once.touch()
            os._exit(9)
        time.sleep(self.seconds)
        total = torch.tensor(given.rank + 1.0)
        if given.ranks > 1:
            distributed.all_reduce(total)
        (self.folder / f"{self._step}-{given.rank}-of-{given.ranks}").touch()
        metrics = {"total": float(total), "process": float(os.getpid())}
        last = self._step >= int(str(given.candidate["steps"]))
        done = last or (self.folder / "enough").exists()
        kept = str(self._step).encode() if given.rank == 0 else None
        return StepReport(given.number, self._step, metrics, done, 0.0, kept)

    def ranks(self, step: int) -> set[int]:
        """Return how many did that step together, each time that it was done."""
        return {int(each.name.rsplit("-", 1)[1]) for each in self.folder.glob(f"{step}-0-of-*")}


@dataclass
class GroupScript(ScriptedSource):
    """A `ScriptedSource` that is told of workers."""

    workers: list[tuple[int, int, str]] = field(default_factory=list)

    def workers_changed(self, workers: int, devices: int, waiting: str = "") -> None:
        self.workers.append((workers, devices, waiting))


class Training:
    """A `TrainingSource` with a catalog, that keeps what it was told."""

    def __init__(self, folder: Path, steps: int) -> None:
        folder.mkdir(exist_ok=True)
        self.place = SearchPlace(folder)
        self.epochs: list[int] = []
        self.workers: list[tuple[int, str]] = []
        self.after: dict[int, Callable[[], None]] = {}
        candidate: dict[str, Scalar] = {"steps": steps}
        journal = CatalogJournal("t/1", self.place.catalog, self.place.store)
        self.source = TrainingSource(
            "t/1",
            candidate,
            journal,
            self.place.clock,
            stop_requested=lambda: False,
            on_epoch=lambda trial: self._epoch_over(trial.step),
            on_workers=lambda count, waiting: self.workers.append((count, waiting)),
        )

    def _epoch_over(self, epoch: int) -> None:
        self.epochs.append(epoch)
        if epoch in self.after:
            self.after[epoch]()
