"""The first stage of a search with shared weights: one training that all children come from.

It is run as a Training is: every epoch is kept, so it goes on after a kill with the very
weights it had. What it learns is named by a digest of all that decides it: when the spec
changes in any of that, weights are shared anew.
"""

from __future__ import annotations

from collections.abc import Callable

from strandline.jobs.approaches import OneShotApproach
from strandline.jobs.search import SearchProgress
from strandline.jobs.search_journal import CatalogJournal
from strandline.jobs.training_source import TrainingSource
from strandline.ports import Catalog, Clock, ObjectStore, Resources, TrialRunner
from strandline.spec.errors import CorruptArtifactError, FailedRunError, InterruptedRunError
from strandline.spec.records import Trial, TrialState, canonical_json, digest_of
from strandline.spec.v1alpha1 import SearchSpec, parse_duration, to_document

STAGE = "sharing weights"


def share_weights(
    name: str,
    uid: str,
    spec: SearchSpec,
    dataset_digest: str,
    approach: OneShotApproach,
    *,
    catalog: Catalog,
    store: ObjectStore,
    runner: TrialRunner,
    clock: Clock,
    progress: Callable[[SearchProgress], None] | None = None,
    stop_requested: Callable[[], bool] | None = None,
) -> bytes:
    """Train the weights that the children of search `name` share, or go on with it.

    Returns the checkpoint for `approach.take`.

    Raises:
        InterruptedRunError: `stop_requested`; every epoch is kept.
        FailedRunError: the weights could not be trained; the message says why.
        CorruptArtifactError: they were trained, and are lost.
    """
    own_uid = f"{uid}/shared-{_identity(spec, dataset_digest)}"
    journal = CatalogJournal(own_uid, catalog, store)

    def on_epoch(trial: Trial) -> None:
        if progress is not None:
            progress(_progress(spec, trial, approach))

    source = TrainingSource(
        own_uid,
        {},
        journal,
        clock,
        stop_requested=stop_requested or (lambda: False),
        on_epoch=on_epoch,
    )
    timeout = parse_duration(spec.trial_timeout).total_seconds() if spec.trial_timeout else None
    try:
        runner.run(source, approach.sharing_factory(), Resources(), 1, timeout)
    finally:
        source.close()
    _check_end(name, source)
    checkpoint = source.checkpoint()
    if checkpoint is None:
        raise CorruptArtifactError(
            f"the shared weights of search/{name} are lost: delete the search and apply it again"
        )
    return checkpoint


def _identity(spec: SearchSpec, dataset_digest: str) -> str:
    """Return a short name of all that decides what is shared."""
    content = {
        "dataset": dataset_digest,
        "space": to_document(spec.space),
        "algorithm": to_document(spec.algorithm),
        "time": spec.budget.time,
        "seed": spec.seed,
    }
    return digest_of(canonical_json(content)).removeprefix("sha256:")[:12]


def _check_end(name: str, source: TrainingSource) -> None:
    if source.complete:
        return
    go_on = f"go on with `strandline search resume {name}`"
    done = f"after {source.trial.step} epochs of shared weights, all kept"
    failure = source.trial.failure
    if failure is None:
        raise InterruptedRunError(f"stopped {done}: {go_on}")
    raise FailedRunError(f"{failure.kind} {done}: {failure.message}; when that is mended, {go_on}")


def _progress(spec: SearchSpec, trial: Trial, approach: OneShotApproach) -> SearchProgress:
    return SearchProgress(
        trial=None,
        best=None,
        counts=dict.fromkeys(TrialState, 0),
        elapsed_seconds=trial.seconds,
        seconds_left=_seconds_left(trial, approach.epochs, approach.sharing_seconds),
        value_name=spec.objectives[0].metric,
        stage=STAGE,
        done=trial.step,
        total=approach.epochs,
    )


def _seconds_left(trial: Trial, epochs: int, limit: float | None) -> float | None:
    """Return what the epochs left take at the pace so far, or the time left for them."""
    if not trial.step:
        return None
    left = (epochs - trial.step) * trial.seconds / trial.step
    return left if limit is None else min(left, max(0.0, limit - trial.seconds))
