"""The body of a Search: restore what is known, run, and tell the outcome.

Everything goes through the catalog as it happens, so the same call on the same search
goes on from whatever end it had: finished, failed, stopped, or killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strandline.jobs.search_journal import CatalogJournal, Patience
from strandline.jobs.spec_watch import SpecWatch
from strandline.jobs.warm_start import SearchPorts, begin, learn
from strandline.ports import (
    Catalog,
    Clock,
    ObjectStore,
    Resources,
    TrainableFactory,
    TrialRunner,
)
from strandline.search.engine import Affordable, EndReason, SearchEngine
from strandline.search.ledger import ENDED
from strandline.search.registry import make_algorithm, make_scheduler
from strandline.search.space import Candidate, Space
from strandline.spec.errors import ConflictError, UnavailableError
from strandline.spec.records import Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec, parse_duration

__all__ = ["CatalogJournal", "SearchOutcome", "SearchProgress", "SpaceOf", "run_search"]

SpaceOf = Callable[[SearchSpec], tuple[Space, Sequence[Candidate]]]
"""Makes the space of a spec, and the candidates to try first."""


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """Where a search stands, each time one of its trials changed.

    Attributes:
        trial: the one that changed.
        best: the best so far.
        counts: trials by state.
        elapsed_seconds: over all runs of the search.
        seconds_left: estimate until the budget is spent; None when it cannot be told.
        value_name: the first objective.
        stage: what is going on now.
        done, total: steps of the stage; 0 where they are not counted.
    """

    trial: Trial | None
    best: Trial | None
    counts: Mapping[TrialState, int]
    elapsed_seconds: float
    seconds_left: float | None
    value_name: str
    stage: str = "searching"
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """How a search ended.

    Attributes:
        reason: why it ended; STOPPED can be resumed at once.
        best: None when no trial gave a value.
        trials: all of them, by number.
        checkpoint: the best trial's, when those are kept and none was lost.
    """

    reason: EndReason
    best: Trial | None
    trials: tuple[Trial, ...]
    elapsed_seconds: float
    checkpoint: bytes | None = None


def run_search(
    uid: str,
    spec: SearchSpec,
    space: Space,
    defaults: Sequence[Candidate],
    factory: TrainableFactory,
    *,
    catalog: Catalog,
    store: ObjectStore,
    runner: TrialRunner,
    clock: Clock,
    resources: Resources | None = None,
    affordable: Affordable | None = None,
    keep_best: bool = False,
    progress: Callable[[SearchProgress], None] | None = None,
    stop_requested: Callable[[], bool] | None = None,
    watch: SpecWatch | None = None,
    space_of: SpaceOf | None = None,
    patience: Patience | None = None,
) -> SearchOutcome:
    """Run the search `uid` until its budget is spent, from where the catalog says it is.

    With `keep_best` the best trial's checkpoint stays and comes with the outcome. With
    `watch` edits of the spec are taken up while it runs, those of the space by `space_of`.

    The caller makes sure that no other process runs the same search.

    Raises:
        InvalidSpecError: the algorithm, its settings, or the objective do not exist.
        NotFoundError: an earlier search to start from does not exist.
        UnavailableError: the catalog or the store stayed away longer than `patience`; what
            was done is kept.
    """
    patience = patience or Patience(clock, hurried=stop_requested or (lambda: False))
    journal = CatalogJournal(uid, catalog, store, patience)
    ports = SearchPorts(catalog, store, clock, patience)
    begin(uid, spec, journal, ports)
    run = _Run(uid, journal, ports, resources or Resources(), progress)
    wishes: dict[str, Any] = {
        "affordable": affordable,
        "keep_best": keep_best,
        "stop_requested": stop_requested,
        "watch": watch,
    }
    while True:
        engine = run.make_engine(spec, space, defaults, wishes)
        run.execute(engine, runner, factory)
        if engine.end_reason is not EndReason.EDITED or watch is None:
            return _outcome(engine, journal if keep_best else None)
        spec = watch.spec
        if space_of is not None:
            space, defaults = space_of(spec)


@dataclass(slots=True)
class _Run:
    """One search, and the engine that decides in it now: an edit of the spec makes another."""

    uid: str
    journal: CatalogJournal
    ports: SearchPorts
    resources: Resources
    progress: Callable[[SearchProgress], None] | None
    engine: SearchEngine | None = None

    def make_engine(
        self, spec: SearchSpec, space: Space, defaults: Sequence[Candidate], wishes: dict[str, Any]
    ) -> SearchEngine:
        """Make the engine of a spec, which knows all that was done so far."""
        lessons = learn(spec, space, self.journal, self.ports)
        algorithm = make_algorithm(spec.algorithm.name, space, spec.seed, spec.algorithm.settings)
        for observation in lessons.observations:
            algorithm.observe(observation)
        first = [lessons.best] if lessons.best is not None else []
        self.engine = SearchEngine(
            self.uid,
            spec,
            algorithm,
            make_scheduler(spec.early_stopping.name, spec.early_stopping.settings),
            self.journal,
            self.ports.clock,
            defaults=[each for each in (*first, *defaults) if space.contains(each)],
            history=self.journal.history(),
            devices=self.resources.gpus or 1.0,
            on_change=self._tell,
            **wishes,
        )
        return self.engine

    def execute(self, engine: SearchEngine, runner: TrialRunner, factory: TrainableFactory) -> None:
        """Run trials until the engine says that it is over."""
        spec = engine.spec
        timeout = parse_duration(spec.trial_timeout).total_seconds() if spec.trial_timeout else None
        try:
            runner.run(engine, factory, self.resources, spec.parallelism, timeout)
        except (UnavailableError, ConflictError):
            raise  # nothing can be written now, and what was is enough to go on from
        except BaseException:
            engine.close()
            raise
        engine.close()

    def _tell(self, trial: Trial) -> None:
        if self.progress is not None and self.engine is not None:
            self.progress(_progress(self.engine, self.engine.spec, trial))


def _outcome(engine: SearchEngine, journal: CatalogJournal | None) -> SearchOutcome:
    best = engine.best()
    kept = journal.load_checkpoint(best.number) if journal and best is not None else None
    return SearchOutcome(
        reason=engine.end_reason or EndReason.STOPPED,
        best=best,
        trials=tuple(engine.trials),
        elapsed_seconds=engine.elapsed_seconds,
        checkpoint=kept[1] if kept is not None else None,
    )


def _progress(engine: SearchEngine, spec: SearchSpec, trial: Trial) -> SearchProgress:
    return SearchProgress(
        trial=trial,
        best=engine.best(),
        counts=engine.counts,
        elapsed_seconds=engine.elapsed_seconds,
        seconds_left=_seconds_left(engine, spec),
        value_name=spec.objectives[0].metric,
    )


def _seconds_left(engine: SearchEngine, spec: SearchSpec) -> float | None:
    """Return the smaller of the time budget's rest and the trials' at the pace so far."""
    estimates = []
    if spec.budget.time is not None:
        estimates.append(max(0.0, engine.seconds_left))
    ended = sum(engine.counts[state] for state in ENDED)
    if spec.budget.trials is not None and ended:
        pace = engine.elapsed_seconds / ended
        estimates.append(max(0.0, (spec.budget.trials - ended) * pace))
    return min(estimates, default=None)
