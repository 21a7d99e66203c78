"""Begin a search with what earlier ones learned, or as a copy of one.

What is learned from stays what it was when the search began: a search that goes on after an
interruption decides as it would have, whatever the others did meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from strandline.jobs.search_journal import CatalogJournal, Patience
from strandline.ports import Catalog, Clock, ObjectStore
from strandline.search.algorithm import Observation
from strandline.search.ledger import ENDED
from strandline.search.objectives import Worth, worth_of
from strandline.search.space import Candidate, Space
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.records import Trial, TrialState
from strandline.spec.v1alpha1 import SearchSpec, WarmStart

# Of one earlier search, those that ended last: memory stays bounded.
_MOST = 5000


@dataclass(frozen=True, slots=True)
class Lessons:
    """What earlier searches teach.

    Attributes:
        observations: their trials as foreign ones, the numbers below 0.
        best: the best candidate among them; worth trying again under the new conditions.
    """

    observations: Sequence[Observation] = ()
    best: Candidate | None = None


@dataclass(frozen=True, slots=True)
class SearchPorts:
    """Where a search finds others."""

    catalog: Catalog
    store: ObjectStore
    clock: Clock
    patience: Patience


def begin(uid: str, spec: SearchSpec, journal: CatalogJournal, ports: SearchPorts) -> None:
    """Fix, once, which earlier searches count, and copy the one that is forked.

    Raises:
        NotFoundError: one of them does not exist.
        InvalidSpecError: the search names itself.
    """
    for source in spec.warm_start:
        mark = _mark(source)
        if journal.read_mark(mark) is not None:
            continue
        found = _find(uid, source, ports)
        if source.fork:
            _copy(found, uid, journal, ports)
        # Written last: a copy that was cut off is made again.
        journal.write_mark(mark, f"{found} {ports.clock.now().isoformat()}")


def learn(spec: SearchSpec, space: Space, journal: CatalogJournal, ports: SearchPorts) -> Lessons:
    """Return what the trials of the earlier searches that fit the space came to."""
    known: list[tuple[Trial, Worth]] = []
    for source in spec.warm_start:
        mark = None if source.fork else journal.read_mark(_mark(source))
        if mark is None:
            continue
        uid, at = mark.split()
        until = datetime.fromisoformat(at)
        trials = CatalogJournal(uid, ports.catalog, ports.store, ports.patience).trials()
        ended = [t for t in trials if t.ended_at is not None and t.ended_at <= until]
        ended.sort(key=lambda trial: (trial.ended_at or until, trial.number))
        known += _worth_knowing(ended[-_MOST:], spec, space)
    return Lessons(
        [
            Observation(
                number - len(known),
                trial.candidate,
                worth.value,
                complete=trial.state is TrialState.COMPLETED,
                values=worth.values,
                excess=worth.excess,
            )
            for number, (trial, worth) in enumerate(known)
        ],
        _best(known),
    )


def _worth_knowing(
    trials: Sequence[Trial], spec: SearchSpec, space: Space
) -> list[tuple[Trial, Worth]]:
    """Return the trials with a value that this search would give them, and that value."""
    metrics = {objective.metric for objective in spec.objectives}
    return [
        (trial, worth)
        for trial in trials
        if trial.state in (TrialState.COMPLETED, TrialState.PRUNED)
        and metrics <= trial.metrics.keys()
        and space.contains(trial.candidate)
        and (worth := worth_of(trial.metrics, spec.objectives)) is not None
    ]


def _best(known: Sequence[tuple[Trial, Worth]]) -> Candidate | None:
    complete = [each for each in known if each[0].state is TrialState.COMPLETED]
    if not complete:
        return None
    return max(complete, key=lambda each: each[1].rank)[0].candidate


def _find(uid: str, source: WarmStart, ports: SearchPorts) -> str:
    try:
        found = ports.patience(lambda: ports.catalog.get_resource("Search", source.search))
    except NotFoundError as error:
        raise NotFoundError(
            f"warmStart names search {source.search!r}, which does not exist: correct or remove it"
        ) from error
    if found.uid == uid:
        raise InvalidSpecError("warmStart names the search itself: it goes on from its own trials")
    return found.uid


def _copy(source_uid: str, uid: str, journal: CatalogJournal, ports: SearchPorts) -> None:
    """Take over another's trials, with their numbers, steps and checkpoints."""
    source = CatalogJournal(source_uid, ports.catalog, ports.store, ports.patience)
    history = source.history()
    for trial in history.trials:
        for step, metrics in history.metrics[trial.number]:
            journal.record_metrics(trial.number, step, metrics)
        kept = source.load_checkpoint(trial.number)
        if kept is not None:
            journal.save_checkpoint(trial.number, *kept)
        state = trial.state if trial.state in ENDED else TrialState.PENDING
        journal.record_trial(trial.model_copy(update={"search": uid, "state": state}))


def _mark(source: WarmStart) -> str:
    return f"warm/{source.search}"
