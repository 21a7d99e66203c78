"""What is decided for every state of a Dataset, a Search and a Model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strandline.control.backoff import MAX_FAILURES, delay_seconds, describe_exit
from strandline.control.reconcile import reconcile
from strandline.ports import Resource
from strandline.spec.actions import (
    Action,
    DatasetView,
    JobState,
    JobView,
    LookAgain,
    Observed,
    SearchView,
    StartJob,
    StopJob,
    WriteStatus,
)
from strandline.spec.conditions import (
    INTERRUPTED,
    TAKEN_UP,
    Why,
    get_condition,
    is_true,
    mark_done,
    mark_failed,
    mark_suspended,
    mark_working,
)
from strandline.spec.records import DatasetVersion, ModelVersion, Task

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
RUNNING = JobView(JobState.RUNNING, generation=1)


def why(reason: str = "Because", generation: int = 1) -> Why:
    return Why(reason, "A sentence.", generation, NOON)


def resource(kind: str, status: dict[str, Any] | None = None, **spec: Any) -> Resource:
    generation = spec.pop("generation", 1)
    learning = {"dataset": {"name": "coast"}}
    base = {"Dataset": {"source": {"uri": "x"}}, "Search": learning, "Training": learning}
    return Resource(
        kind, "a", "uid", generation, 1, {}, {}, {**base.get(kind, {}), **spec}, status or {}, NOON
    )


def ended(exit_code: int | None, failures: int = 1, generation: int = 1) -> JobView:
    return JobView(JobState.ENDED, generation, exit_code, failures, NOON, "last words")


def dataset_version(number: int = 1) -> DatasetVersion:
    return DatasetVersion(
        dataset="coast",
        version=number,
        digest=DIGEST,
        task=Task.MULTICLASS,
        labels=("a", "b"),
        items_object=DIGEST,
        items=2,
        labeled=2,
        created_at=NOON,
    )


def model_version(number: int) -> ModelVersion:
    return ModelVersion(
        model="a",
        version=number,
        bundle=DIGEST,
        task=Task.MULTICLASS,
        labels=("a", "b"),
        dataset="coast",
        dataset_digest=DIGEST,
        metrics={"precision_at_1": 0.9},
        created_at=NOON,
    )


IMPORTED = DatasetView(1, mark_done({}, why()), (dataset_version(),))


def observed(**fields: Any) -> Observed:
    return Observed(now=NOON, **{"dataset": IMPORTED, **fields})


def ready_reason(actions: tuple[Action, ...]) -> str | None:
    for action in actions:
        if isinstance(action, WriteStatus):
            ready = get_condition(action.status, "Ready")
            return None if ready is None else str(ready["reason"])
    return None


def kinds_of(actions: tuple[Action, ...]) -> list[str]:
    return [type(action).__name__ for action in actions]


CASES: list[tuple[str, Resource, Observed, list[str], str | None]] = [
    (
        "a new dataset is imported",
        resource("Dataset"),
        observed(),
        ["WriteStatus", "StartJob"],
        "Importing",
    ),
    ("a running import is left alone", resource("Dataset"), observed(job=RUNNING), [], None),
    (
        "an import that somebody else runs is left alone",
        resource("Dataset", generation=7),
        observed(job=JobView(JobState.RUNNING)),
        [],
        None,
    ),
    (
        "an imported dataset needs nothing",
        resource("Dataset", mark_done({}, why())),
        observed(),
        [],
        None,
    ),
    (
        "a changed dataset is imported anew",
        resource("Dataset", mark_done({}, why()), generation=2),
        observed(job=ended(0)),
        ["WriteStatus", "StartJob"],
        "Importing",
    ),
    (
        "a failed import rests until its spec changes",
        resource("Dataset", mark_failed({}, why())),
        observed(job=ended(7)),
        [],
        None,
    ),
    (
        "a search that runs by an older spec is left to take up the newer one",
        resource("Search", generation=2),
        observed(job=RUNNING),
        ["WriteStatus", "LookAgain"],
        "SpecChanged",
    ),
    (
        "a search that took up the edit is left alone",
        resource("Search", mark_working({}, why(TAKEN_UP, 2)), generation=2),
        observed(job=RUNNING),
        [],
        None,
    ),
    (
        "a search that ended instead of taking up the edit is started again",
        resource("Search", mark_working({}, why("SpecChanged", 2)), generation=2),
        observed(job=ended(0)),
        ["WriteStatus", "StartJob"],
        "Searching",
    ),
    (
        "a training of an older spec is stopped",
        resource("Training", generation=2),
        observed(job=RUNNING),
        ["StopJob", "WriteStatus", "LookAgain"],
        "SpecChanged",
    ),
    (
        "a job of an older spec is stopped",
        resource("Dataset", generation=2),
        observed(job=RUNNING),
        ["StopJob", "WriteStatus", "LookAgain"],
        "SpecChanged",
    ),
    (
        "a search without its dataset waits and says so",
        resource("Search"),
        observed(dataset=None),
        ["WriteStatus"],
        "WaitingForDataset",
    ),
    (
        "a search waits for the import of its dataset",
        resource("Search"),
        observed(dataset=DatasetView(1, mark_working({}, why("Importing")))),
        ["WriteStatus"],
        "WaitingForDataset",
    ),
    (
        "a search waits for a newer import rather than use the older version",
        resource("Search"),
        observed(dataset=replace(IMPORTED, generation=2)),
        ["WriteStatus"],
        "WaitingForDataset",
    ),
    (
        "a search waits for the very version it names",
        resource("Search", dataset={"name": "coast", "version": 2}),
        observed(),
        ["WriteStatus"],
        "WaitingForDataset",
    ),
    (
        "a training without the search of its cell waits and says so",
        resource("Training", cell={"search": "cells"}),
        observed(),
        ["WriteStatus"],
        "WaitingForSearch",
    ),
    (
        "a training waits for the search of its cell to end",
        resource("Training", cell={"search": "cells"}),
        observed(search=SearchView(1, mark_working({}, why("Searching")))),
        ["WriteStatus"],
        "WaitingForSearch",
    ),
    (
        "a training waits while the search of its cell is stalled",
        resource("Training", cell={"search": "cells"}),
        observed(search=SearchView(1, mark_failed({}, why("FailedRun")))),
        ["WriteStatus"],
        "WaitingForSearch",
    ),
    (
        "a training starts when the search of its cell has ended",
        resource("Training", cell={"search": "cells"}),
        observed(search=SearchView(1, mark_done({}, why("SearchEnded")))),
        ["WriteStatus", "StartJob"],
        "Training",
    ),
    (
        "a training of a trial that it names does not wait for the end",
        resource("Training", cell={"search": "cells", "trial": 3}),
        observed(search=SearchView(1, mark_working({}, why("Searching")))),
        ["WriteStatus", "StartJob"],
        "Training",
    ),
    (
        "a training of a cell that is written out starts when its dataset is there",
        resource("Training", cell={"family": "nasnet", "genotype": {}}),
        observed(),
        ["WriteStatus", "StartJob"],
        "Training",
    ),
    (
        "a suspended training is stopped",
        resource("Training", cell={"search": "cells"}, suspend=True),
        observed(job=RUNNING),
        ["StopJob", "WriteStatus"],
        "Suspended",
    ),
    (
        "a search starts on a version that a program imported",
        resource("Search"),
        observed(dataset=DatasetView(0, {}, (dataset_version(),))),
        ["WriteStatus", "StartJob"],
        "Searching",
    ),
    (
        "a search starts when its dataset is there",
        resource("Search"),
        observed(),
        ["WriteStatus", "StartJob"],
        "Searching",
    ),
    (
        "a running search outlives its dataset",
        resource("Search", mark_working({}, why("Searching"))),
        observed(job=RUNNING, dataset=None),
        [],
        None,
    ),
    (
        "a suspended search is stopped",
        resource("Search", suspend=True),
        observed(job=RUNNING),
        ["StopJob", "WriteStatus"],
        "Suspended",
    ),
    (
        "a search that was suspended goes on",
        resource("Search", mark_suspended({}, why("Suspended")), generation=2),
        observed(),
        ["WriteStatus", "StartJob"],
        "Searching",
    ),
    (
        "a finished search is not suspended any more",
        resource("Search", mark_done({}, why()), suspend=True),
        observed(),
        [],
        None,
    ),
    (
        "a search that a person stopped waits for that person",
        resource("Search", mark_suspended({}, why(INTERRUPTED))),
        observed(),
        [],
        None,
    ),
    (
        "a finished search goes on when its budget is raised",
        resource("Search", mark_done({}, why()), generation=2),
        observed(job=ended(0)),
        ["WriteStatus", "StartJob"],
        "Searching",
    ),
    (
        "a job that ended well is done",
        resource("Search"),
        observed(job=ended(0)),
        ["WriteStatus"],
        "JobSucceeded",
    ),
    (
        "a job that was killed is backed off",
        resource("Search"),
        observed(job=ended(-9)),
        ["WriteStatus", "LookAgain"],
        "BackingOff",
    ),
    (
        "a job whose end nobody saw starts again after the pause",
        resource("Search"),
        observed(job=replace(ended(None), ended_at=NOON - timedelta(seconds=10))),
        ["WriteStatus", "StartJob"],
        "Searching",
    ),
    (
        "a job that keeps crashing is given up",
        resource("Search"),
        observed(job=ended(1, failures=MAX_FAILURES)),
        ["WriteStatus"],
        "BackoffLimitExceeded",
    ),
    (
        "data that cannot be used is not tried again",
        resource("Dataset"),
        observed(job=ended(7)),
        ["WriteStatus"],
        "UnusableData",
    ),
    (
        "a model without versions waits for one",
        resource("Model"),
        observed(),
        ["WriteStatus"],
        "WaitingForVersion",
    ),
    (
        "a model with versions is ready",
        resource("Model"),
        observed(model_versions=(model_version(1), model_version(2))),
        ["WriteStatus"],
        "VersionReady",
    ),
    (
        "a model whose chosen version is missing waits for it",
        resource("Model", defaultVersion=3),
        observed(model_versions=(model_version(1),)),
        ["WriteStatus"],
        "WaitingForVersion",
    ),
    ("an unknown kind is left alone", resource("Unheard"), observed(), [], None),
]


@pytest.mark.parametrize(
    ("given", "seen", "expected", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_decisions(
    given: Resource, seen: Observed, expected: list[str], reason: str | None
) -> None:
    actions = reconcile(given, seen)
    assert kinds_of(actions) == expected
    assert ready_reason(actions) == reason


@pytest.mark.parametrize(
    ("given", "seen"), [(c[1], c[2]) for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_written_status_is_not_written_again(given: Resource, seen: Observed) -> None:
    for action in reconcile(given, seen):
        if isinstance(action, WriteStatus):
            again = reconcile(replace(given, status=action.status), seen)
            assert not [each for each in again if isinstance(each, WriteStatus)]


def test_a_started_job_is_for_the_generation_that_was_seen() -> None:
    actions = reconcile(resource("Dataset", generation=4), observed())
    assert StartJob(4) in actions


def test_the_pause_before_the_next_try_is_told() -> None:
    seen = replace(observed(job=ended(-9, failures=3)), now=NOON + timedelta(seconds=15))
    actions = reconcile(resource("Search"), seen)
    assert LookAgain(25.0) in actions
    written = next(each for each in actions if isinstance(each, WriteStatus))
    ready = get_condition(written.status, "Ready")
    assert ready is not None
    assert "SIGKILL" in ready["message"]
    assert "12:00:40 UTC" in ready["message"]
    assert "last words" in ready["message"]


def test_a_search_tells_why_its_dataset_failed() -> None:
    failed = DatasetView(1, mark_failed({}, why("UnusableData")))
    (written,) = reconcile(resource("Search"), observed(dataset=failed))
    assert isinstance(written, WriteStatus)
    ready = get_condition(written.status, "Ready")
    assert ready is not None
    assert "import of dataset coast failed: A sentence." in ready["message"]


def test_given_up_means_failed_for_everybody_who_waits() -> None:
    (written,) = reconcile(resource("Search"), observed(job=ended(1, failures=MAX_FAILURES)))
    assert isinstance(written, WriteStatus)
    assert is_true(written.status, "Failed", 1)
    assert is_true(written.status, "Stalled", 1)


def test_the_chosen_version_of_a_model_predicts() -> None:
    versions = (model_version(1), model_version(2))
    (written,) = reconcile(resource("Model", defaultVersion=1), observed(model_versions=versions))
    assert isinstance(written, WriteStatus)
    assert written.status["version"] == 1
    assert written.status["versions"] == 2
    assert written.status["headline"] == "precision_at_1=0.9000"
    assert written.status["bundle"] == versions[0].bundle


def test_a_stop_is_asked_for_until_the_job_is_gone() -> None:
    held = resource("Search", mark_suspended({}, why("Suspended")), suspend=True)
    assert StopJob() in reconcile(held, observed(job=RUNNING))


def test_pauses_double_up_to_five_minutes() -> None:
    assert [delay_seconds(n) for n in (1, 2, 3, 5, 6, 60)] == [10, 20, 40, 160, 300, 300]


@pytest.mark.parametrize(
    ("code", "words"),
    [(None, "nobody watched"), (3, "exit code 3"), (-11, "SIGSEGV"), (137, "out of memory")],
)
def test_an_end_is_told_in_words(code: int | None, words: str) -> None:
    assert words in describe_exit(code)


# ---------------------------------------------------------------- kinds without a job


@pytest.mark.parametrize("kind", ["LabelingJob", "Endpoint", "BatchPrediction"])
@pytest.mark.parametrize("suspend", [False, True])
def test_a_kind_that_is_not_served_yet_says_so(kind: str, suspend: bool) -> None:
    (written,) = reconcile(resource(kind, suspend=suspend), Observed(NOON))
    assert isinstance(written, WriteStatus)
    status = written.status
    for type_, value in (("Ready", "False"), ("Stalled", "True")):
        condition = get_condition(status, type_)
        assert condition is not None
        assert (condition["status"], condition["reason"]) == (value, "NotYetServed")
        assert "Planned is" in condition["message"]
    assert {each["type"] for each in status["conditions"]} == {"Ready", "Stalled"}
    assert reconcile(resource(kind, dict(status), suspend=suspend), Observed(NOON)) == ()


def test_a_pool_says_that_one_machine_runs_everything_itself() -> None:
    (written,) = reconcile(resource("ComputePool"), Observed(NOON))
    assert isinstance(written, WriteStatus)
    ready = get_condition(written.status, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "LocalMachine")
    assert reconcile(resource("ComputePool", dict(written.status)), Observed(NOON)) == ()


def test_an_edit_of_what_is_not_served_is_answered_too() -> None:
    (written,) = reconcile(resource("Endpoint"), Observed(NOON))
    assert isinstance(written, WriteStatus)
    (again,) = reconcile(resource("Endpoint", dict(written.status), generation=2), Observed(NOON))
    assert isinstance(again, WriteStatus)
    assert is_true(again.status, "Stalled", 2)
