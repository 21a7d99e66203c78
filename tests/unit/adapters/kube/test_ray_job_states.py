"""What RayJobs in all their stages mean: statuses as KubeRay 1.7 writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from strandline.adapters.kube.ray_job_states import attempt_of_rayjob, keep_rayjob
from strandline.control.backoff import permanent_reason
from strandline.spec.actions import JobState
from strandline.spec.attempts import Attempt, view_attempts

STARTED, ENDED = "2026-01-31T12:00:00Z", "2026-01-31T12:30:00Z"
FAILED = (
    "Job entrypoint command failed with exit code {code}, last available logs (truncated to "
    "20,000 chars):\nsearching\nUnavailableError: the store does not answer\n"
)
CLUSTER = "search-coast-3f2a9c1b-2-abcde"


def rayjob(suspend: bool = False, deleted: bool = False, **status: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": "search-coast-3f2a9c1b-2",
        "namespace": "team-a",
        "uid": "u",
        "creationTimestamp": STARTED,
        "labels": {"strandline.dev/attempt": "2"},
        "annotations": {"strandline.dev/generation": "3", "strandline.dev/failures": "1"},
        "managedFields": [{}],
    }
    if deleted:
        metadata["deletionTimestamp"] = ENDED
    spec = {"suspend": suspend, "rayClusterSpec": {"headGroupSpec": {}}}
    document = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}
    return keep_rayjob({**document, "status": status})


def ended(stage: str, job: str = "", **status: Any) -> Attempt:
    told = {"startTime": STARTED, "endTime": ENDED, "jobStatus": job, **status}
    return attempt_of_rayjob(rayjob(jobDeploymentStatus=stage, **told), ())


def pod(node: str, phase: str, why: str = "") -> dict[str, Any]:
    labels = {"ray.io/cluster": CLUSTER, "ray.io/node-type": node}
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    conditions = [{**condition, "message": why}] if why else []
    return {"metadata": {"labels": labels}, "status": {"phase": phase, "conditions": conditions}}


def waiting(status: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Any:
    return attempt_of_rayjob(rayjob(rayClusterName=CLUSTER, **status), pods).waiting


def test_a_job_that_succeeded_is_an_exit_of_zero() -> None:
    attempt = ended("Complete", "SUCCEEDED")
    assert (attempt.ended, attempt.exit_code, attempt.last_words) == (True, 0, "")
    assert attempt.ended_at == datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
    assert (attempt.number, attempt.generation, attempt.failures_before) == (2, 3, 1)


@pytest.mark.parametrize("code", [10, 130, -9])
def test_the_exit_code_and_the_last_words_stand_in_the_message(code: int) -> None:
    attempt = ended("Failed", "FAILED", reason="AppFailed", message=FAILED.format(code=code))
    assert attempt.exit_code == code
    assert attempt.last_words == "UnavailableError: the store does not answer"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"reason": "SubmissionFailed", "message": "no route to host"},
            "SubmissionFailed: no route to host",
        ),
        (
            {"reason": "JobStatusCheckTimeoutExceeded", "message": "failing since noon"},
            "JobStatusCheckTimeoutExceeded: failing since noon",
        ),
        ({"reason": "DeadlineExceeded"}, "DeadlineExceeded"),
    ],
)
def test_an_end_that_is_not_the_drivers_has_no_exit_code_and_may_be_tried_again(
    status: dict[str, str], words: str
) -> None:
    attempt = ended("Failed", **status)
    assert (attempt.ended, attempt.exit_code, attempt.last_words) == (True, None, words)
    assert permanent_reason(attempt.exit_code) is None


def test_a_driver_that_somebody_stopped_did_not_succeed() -> None:
    attempt = ended("Complete", "STOPPED")
    assert (attempt.exit_code, attempt.last_words) == (None, "the Ray job was stopped")


def test_what_kuberay_refuses_is_not_tried_again() -> None:
    attempt = ended("ValidationFailed", message="rayVersion was not specified")
    assert permanent_reason(attempt.exit_code) == "InvalidSpec"
    assert attempt.last_words == "rayVersion was not specified"


@pytest.mark.parametrize("stage", ["", "Initializing", "Running", "Suspending", "Suspended"])
def test_in_all_other_stages_it_runs(stage: str) -> None:
    attempt = attempt_of_rayjob(rayjob(jobDeploymentStatus=stage), ())
    assert view_attempts([attempt]).state is JobState.RUNNING


@pytest.mark.parametrize("stage", ["", "Running", "Suspending", "Suspended"])
def test_a_queue_that_admits_it_not_or_no_more_is_told(stage: str) -> None:
    attempt = attempt_of_rayjob(rayjob(suspend=True, jobDeploymentStatus=stage), ())
    assert not attempt.ended
    assert attempt.waiting is not None
    assert attempt.waiting[0] == "Queued"


def test_one_that_is_being_deleted_was_stopped_and_runs_until_it_is_gone() -> None:
    attempt = attempt_of_rayjob(rayjob(deleted=True, jobDeploymentStatus="Running"), ())
    assert (attempt.stopped, attempt.ended) == (True, False)


def test_a_head_or_workers_that_no_node_takes_are_told_with_the_reason() -> None:
    status = {"jobDeploymentStatus": "Initializing"}
    unplaced = pod("head", "Pending", "0/3 nodes are available")
    assert waiting(status, [unplaced]) == ("Unschedulable", "0/3 nodes are available")
    head, stuck = pod("head", "Running"), pod("worker", "Pending", "no nvidia.com/gpu")
    assert waiting(status, [head, stuck]) == ("Unschedulable", "no nvidia.com/gpu")


def test_workers_of_which_some_run_are_enough() -> None:
    pods = [pod("head", "Running"), pod("worker", "Running"), pod("worker", "Pending", "full")]
    assert waiting({"jobDeploymentStatus": "Running"}, pods) is None


def test_pods_of_an_earlier_cluster_do_not_count() -> None:
    other = pod("head", "Pending", "full")
    other["metadata"]["labels"]["ray.io/cluster"] = "search-coast-3f2a9c1b-1-xyz"
    assert waiting({"jobDeploymentStatus": "Initializing"}, [other]) is None


def test_the_templates_of_pods_are_not_kept() -> None:
    kept = rayjob()
    assert kept["spec"] == {"suspend": False}
    assert "managedFields" not in kept["metadata"]
