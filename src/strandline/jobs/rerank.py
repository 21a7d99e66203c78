"""The end of a search on small networks: its best cells trained fully decide.

A search looks at many cells, so it trains small networks briefly on some of the images
(NASNet searched on a proxy like this, arXiv 1707.07012, section 3). Which of the best few
is best for the real thing only the real thing tells: those are trained once more, as the
Search's `rerank` says, each from its last epoch if it was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from strandline.jobs.approaches import Approach
from strandline.jobs.search import SearchOutcome, SearchProgress, run_search
from strandline.ports import Catalog, Clock, ObjectStore, TrialRunner
from strandline.search.ledger import ENDED
from strandline.search.objectives import worth_of
from strandline.search.space import Space, candidate_key
from strandline.spec.records import Trial, TrialState, canonical_json, digest_of
from strandline.spec.v1alpha1 import (
    Budget,
    NamedChoice,
    Objective,
    SearchSpec,
    StopRules,
    to_document,
)

_MOST_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Reranked:
    """How the best cells did in the full training.

    Attributes:
        outcome: of the full training: its trials are numbered from 0 again.
        originals: the number that each of them has in the search.
    """

    outcome: SearchOutcome
    originals: tuple[int, ...]

    def status(self, objectives: Sequence[Objective]) -> list[dict[str, Any]]:
        """Return the Search's `status.reranked`: original numbers and values, best first."""

        def worth(trial: Trial) -> float:
            judged = worth_of(trial.metrics, objectives)
            return -math.inf if judged is None else judged.value

        metric = objectives[0].metric
        best = self.outcome.best
        done = [trial for trial in self.outcome.trials if trial.state is TrialState.COMPLETED]
        first = [trial for trial in done if best is not None and trial.number == best.number]
        others = sorted(
            (trial for trial in done if trial not in first),
            key=lambda trial: -worth(trial),
        )
        return [
            {
                "number": self.originals[trial.number],
                "metric": metric,
                "value": trial.metrics[metric],
            }
            for trial in (*first, *others)[:_MOST_SHOWN]
        ]


def rerank_spec(spec: SearchSpec) -> SearchSpec:
    """Return the spec of the full training: no early stopping, all images, no budget."""
    assert spec.rerank is not None, "asked for"
    space = spec.space
    wanted = spec.rerank
    return spec.model_copy(
        update={
            "space": space.model_copy(
                update={
                    "network": wanted.network or space.network,
                    "schedule": wanted.schedule or space.schedule,
                    "images": None,
                }
            ),
            "algorithm": NamedChoice(name="random"),
            "early_stopping": NamedChoice(name="none"),
            "budget": Budget(trials=wanted.candidates),
            "stop": StopRules(),
            "warm_start": [],
            "rerank": None,
        }
    )


def choose_finalists(spec: SearchSpec, space: Space, trials: Sequence[Trial]) -> list[Trial]:
    """Return the best trials, best first: of cells that are the same thing one alone.

    Trials that went further come first; among those that went as far the better ones.
    """
    assert spec.rerank is not None, "asked for"
    judged = [
        (trial.step, worth.rank, -trial.number, trial)
        for trial in trials
        if trial.state in (TrialState.COMPLETED, TrialState.PRUNED)
        and (worth := worth_of(trial.metrics, spec.objectives)) is not None
    ]
    chosen: dict[str, Trial] = {}
    for *_, trial in sorted(judged, key=lambda entry: entry[:3], reverse=True):
        chosen.setdefault(space.canonical(trial.candidate), trial)
    return list(chosen.values())[: spec.rerank.candidates]


def rerank(
    uid: str,
    spec: SearchSpec,
    finalists: Sequence[Trial],
    searched: Sequence[Trial],
    approach: Approach,
    *,
    catalog: Catalog,
    store: ObjectStore,
    runner: TrialRunner,
    clock: Clock,
    progress: Callable[[SearchProgress], None] | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> Reranked:
    """Train the finalists fully; what was done before is neither lost nor done again.

    Args:
        spec: of `rerank_spec`.
        searched: all trials of the search.
        approach: for that spec.
    """
    own_uid = f"{uid}/rerank-{_identity(spec)}"
    space, _ = approach.space()
    # Finalists of an earlier end of the search, before its budget was raised, count as well.
    earlier = {candidate_key(trial.candidate) for trial in catalog.list_trials(own_uid)}
    total = len(earlier | {candidate_key(trial.candidate) for trial in finalists})
    outcome = run_search(
        own_uid,
        spec.model_copy(update={"budget": Budget(trials=total)}),
        space,
        [trial.candidate for trial in finalists],
        approach.factory(),
        catalog=catalog,
        store=store,
        runner=runner,
        clock=clock,
        keep_best=True,
        progress=None if progress is None else _as_stage(progress, total),
        stop_requested=stop_requested,
    )
    numbers = {candidate_key(trial.candidate): trial.number for trial in searched}
    originals = tuple(numbers[candidate_key(trial.candidate)] for trial in outcome.trials)
    return Reranked(outcome, originals)


def _identity(spec: SearchSpec) -> str:
    """Return a short name of all that decides how a finalist does."""
    content = {
        "dataset": spec.dataset.model_dump(),
        "space": to_document(spec.space),
        "seed": spec.seed,
    }
    return digest_of(canonical_json(content)).removeprefix("sha256:")[:12]


def _as_stage(
    progress: Callable[[SearchProgress], None], total: int
) -> Callable[[SearchProgress], None]:
    def tell(seen: SearchProgress) -> None:
        ended = sum(seen.counts[state] for state in ENDED)
        progress(replace(seen, stage="re-ranking", done=ended, total=total))

    return tell
