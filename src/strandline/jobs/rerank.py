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

import numpy as np
from numpy.typing import NDArray

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
_FEWEST_COMPARED = 3
_RESAMPLES = 1000

Floats = NDArray[np.float64]
_Judged = tuple[int, tuple[bool, float], int, Trial]


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
    chosen: dict[str, Trial] = {}
    for *_, trial in sorted(_judged(spec, trials), key=lambda entry: entry[:3], reverse=True):
        chosen.setdefault(space.canonical(trial.candidate), trial)
    return list(chosen.values())[: spec.rerank.candidates]


def _judged(spec: SearchSpec, trials: Sequence[Trial]) -> list[_Judged]:
    """Return what the search takes for the order of its trials, and the trials."""
    return [
        (trial.step, worth.rank, -trial.number, trial)
        for trial in trials
        if trial.state in (TrialState.COMPLETED, TrialState.PRUNED)
        and (worth := worth_of(trial.metrics, spec.objectives)) is not None
    ]


def choose_sample(spec: SearchSpec, space: Space, trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that tell how good the proxy is: drawn at random, whatever they gave."""
    assert spec.rerank is not None, "asked for"
    judged = [trial for *_, trial in _judged(spec, trials)]
    distinct = {space.canonical(trial.candidate): trial for trial in reversed(judged)}
    pool = sorted(distinct.values(), key=lambda trial: trial.number)
    rng = np.random.default_rng([spec.seed, len(pool)])
    places = rng.permutation(len(pool))[: spec.rerank.sample]
    return [pool[int(place)] for place in places]


def judge_proxy(
    spec: SearchSpec, sample: Sequence[Trial], reranked: Reranked
) -> dict[str, float] | None:
    """Return the Search's `status.proxy`, None when too few can be told apart."""
    ordered = sorted(_judged(spec, sample), key=lambda entry: entry[:3])
    places = {trial.number: place for place, (*_, trial) in enumerate(ordered)}
    full = {
        number: trial
        for number, trial in zip(reranked.originals, reranked.outcome.trials, strict=True)
        if trial.state is TrialState.COMPLETED and number in places
    }
    if len(full) < _FEWEST_COMPARED:
        return None
    worths = {n: worth_of(trial.metrics, spec.objectives) for n, trial in full.items()}
    pairs = np.array([[places[n], worth.value] for n, worth in worths.items() if worth])
    rng = np.random.default_rng(spec.seed)
    found = spearman(*pairs.T)
    if math.isnan(found):
        return None  # the full training took all of them for the same
    drawn = [pairs[rng.integers(0, len(pairs), len(pairs))] for _ in range(_RESAMPLES)]
    low, high = np.nanquantile([spearman(*each.T) for each in drawn], [0.025, 0.975])
    before = {trial.number: trial.seconds for trial in sample}
    cost = sum(trial.seconds for trial in full.values())
    return {
        "trials": len(pairs),
        "rankCorrelation": found,
        "low": float(low),
        "high": float(high),
        "costRatio": cost / max(sum(before[number] for number in full), 1e-9),
    }


def spearman(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation, NaN when one of the two is constant."""
    one, other = _ranks(first), _ranks(second)
    if min(np.ptp(one), np.ptp(other)) == 0:
        return math.nan
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles: Floats = ends - (counts + 1) / 2
    return middles[inverse]


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
