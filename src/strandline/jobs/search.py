"""The body of a Search: restore what is known, run, and tell the outcome.

Everything goes through the catalog as it happens, so the same call on the same search
goes on from whatever end it had: finished, failed, stopped, or killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from strandline.ports import (
    Catalog,
    Clock,
    ObjectStore,
    Resources,
    TrainableFactory,
    TrialRunner,
)
from strandline.search.engine import Affordable, EndReason, SearchEngine
from strandline.search.journal import History
from strandline.search.ledger import ENDED
from strandline.search.registry import make_algorithm, make_scheduler
from strandline.search.space import Candidate, Space
from strandline.spec.errors import CorruptArtifactError, NotFoundError
from strandline.spec.records import Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec, parse_duration

_PAGE = 1000


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
) -> SearchOutcome:
    """Run the search `uid` until its budget is spent, from where the catalog says it is.

    With `keep_best` the best trial's checkpoint stays and comes with the outcome.

    The caller makes sure that no other process runs the same search.

    Raises:
        InvalidSpecError: the algorithm, its settings, or the objective do not exist.
    """
    journal = CatalogJournal(uid, catalog, store)
    engine = SearchEngine(
        uid,
        spec,
        make_algorithm(spec.algorithm.name, space, spec.seed, spec.algorithm.settings),
        make_scheduler(spec.early_stopping.name, spec.early_stopping.settings),
        journal,
        clock,
        defaults=[candidate for candidate in defaults if space.contains(candidate)],
        history=journal.history(),
        devices=resources.gpus if resources and resources.gpus else 1.0,
        affordable=affordable,
        keep_best=keep_best,
        stop_requested=stop_requested,
        on_change=lambda trial: progress(_progress(engine, spec, trial)) if progress else None,
    )
    timeout = parse_duration(spec.trial_timeout).total_seconds() if spec.trial_timeout else None
    try:
        runner.run(engine, factory, resources or Resources(), spec.parallelism, timeout)
    finally:
        engine.close()
    best = engine.best()
    kept = journal.load_checkpoint(best.number) if keep_best and best is not None else None
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


class CatalogJournal:
    """`search.engine.Journal` of one search, in the catalog and the store."""

    def __init__(self, uid: str, catalog: Catalog, store: ObjectStore) -> None:
        self._uid = uid
        self._catalog = catalog
        self._store = store

    def history(self) -> History:
        """Read what earlier runs left."""
        trials: list[Trial] = []
        while page := self._catalog.list_trials(
            self._uid, _PAGE, trials[-1].number if trials else -1
        ):
            trials.extend(page)
        return History(
            trials=trials,
            metrics={t.number: self._catalog.list_metrics(self._uid, t.number) for t in trials},
            elapsed_seconds=float(self._catalog.read_pointer(self._elapsed_name) or 0.0),
        )

    def record_trial(self, trial: Trial) -> None:
        self._catalog.record_trial(trial)

    def record_metrics(self, number: int, step: int, metrics: Mapping[str, float]) -> None:
        self._catalog.record_metrics(self._uid, number, step, metrics)

    def save_checkpoint(self, number: int, step: int, data: bytes) -> None:
        # Named inside, so that two trials' equal checkpoints are still two objects and
        # dropping one never takes the other's.
        digest = self._store.put(self._header(number) + data)
        name = self._checkpoint_name(number)
        old = self._catalog.read_pointer(name)
        self._catalog.swap_pointer(name, old, f"{step} {digest}")
        if old is not None and old.split()[1] != digest:
            self._store.delete(old.split()[1])

    def load_checkpoint(self, number: int) -> tuple[int, bytes] | None:
        pointer = self._catalog.read_pointer(self._checkpoint_name(number))
        if pointer is None:
            return None
        step, digest = pointer.split()
        try:
            return int(step), self._store.get(digest).removeprefix(self._header(number))
        except (NotFoundError, CorruptArtifactError):
            return None  # the trial starts over: slower, never wrong

    def drop_checkpoint(self, number: int) -> None:
        name = self._checkpoint_name(number)
        pointer = self._catalog.read_pointer(name)
        if pointer is not None:
            self._catalog.swap_pointer(name, pointer, None)
            self._store.delete(pointer.split()[1])

    def record_elapsed(self, seconds: float) -> None:
        old = self._catalog.read_pointer(self._elapsed_name)
        self._catalog.swap_pointer(self._elapsed_name, old, f"{seconds:.3f}")

    @property
    def _elapsed_name(self) -> str:
        return f"search/{self._uid}/elapsed"

    def _checkpoint_name(self, number: int) -> str:
        return f"search/{self._uid}/trial/{number}/checkpoint"

    def _header(self, number: int) -> bytes:
        return f"{self._uid} {number}\n".encode()
