"""What is read from Jobs and pods, in the words that Kubernetes says it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from strandline.adapters.kube.job_states import attempt_of, keep_job, keep_pod
from strandline.spec.actions import JobState
from strandline.spec.attempts import Attempt, view_attempts

STARTED, ENDED = "2026-01-31T12:00:00Z", "2026-01-31T12:00:30Z"
UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


def make_job(*conditions: dict[str, str], suspend: bool = False, **metadata: Any) -> dict[str, Any]:
    return keep_job(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": "search-coast-3f2a9c1b-2",
                "namespace": "team-a",
                "uid": "job-uid",
                "resourceVersion": "7",
                "creationTimestamp": STARTED,
                "labels": {"strandline.dev/attempt": "2"},
                "annotations": {"strandline.dev/generation": "3", "strandline.dev/failures": "1"},
                "managedFields": [{}],
                **metadata,
            },
            "spec": {"suspend": suspend, "template": {"spec": {"containers": []}}},
            "status": {"startTime": STARTED, "conditions": list(conditions), "failed": 1},
        }
    )


def condition(type_: str, reason: str = "", message: str = "") -> dict[str, str]:
    stamped = {"lastTransitionTime": ENDED, "reason": reason, "message": message}
    return {"type": type_, "status": "True", **stamped}


def make_pod(phase: str = "Running", **status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "team-a", "uid": "u", "resourceVersion": "1"}
    return keep_pod(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "status": {"phase": phase, **status},
        }
    )


def container(**state: Any) -> list[dict[str, Any]]:
    return [{"name": "job", "image": "x", "state": state}]


def terminated(code: int, **fields: Any) -> dict[str, Any]:
    return make_pod("Failed", containerStatuses=container(terminated={"exitCode": code, **fields}))


FAILED = condition("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")


def test_a_job_that_goes_on_is_running_with_what_it_was_started_for() -> None:
    attempt = attempt_of(make_job(), [make_pod()])
    assert attempt == Attempt(2, 3, 1, started_at=datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert view_attempts([attempt]).state is JobState.RUNNING


def test_a_job_whose_pod_only_begins_to_end_is_still_running() -> None:
    assert not attempt_of(make_job(condition("FailureTarget")), [make_pod()]).ended


def test_a_job_that_ended_well() -> None:
    attempt = attempt_of(make_job(condition("Complete", "CompletionsReached")), [])
    assert (attempt.ended, attempt.exit_code, attempt.last_words) == (True, 0, "")
    assert attempt.ended_at == datetime(2026, 1, 31, 12, 0, 30, tzinfo=UTC)


def test_exit_code_and_last_words_are_those_of_the_container() -> None:
    pod = terminated(7, message="a traceback\n\nUnusableDataError: no labels \u0007\n")
    attempt = attempt_of(make_job(FAILED), [pod])
    assert (attempt.exit_code, attempt.last_words) == (7, "UnusableDataError: no labels  ")
    assert not attempt.preempted


def test_the_exit_code_stands_in_the_job_when_the_pod_is_gone() -> None:
    message = (
        "Container job for pod team-a/p failed with exit code 10 matching FailJob rule at index 1"
    )
    attempt = attempt_of(make_job(condition("Failed", "PodFailurePolicy", message)), [])
    assert (attempt.exit_code, attempt.preempted) == (10, False)


def test_too_little_memory_is_called_so() -> None:
    attempt = attempt_of(make_job(FAILED), [terminated(137, reason="OOMKilled")])
    assert attempt.exit_code == 137
    assert "OOMKilled" in attempt.last_words


@pytest.mark.parametrize(
    ("job", "pods"),
    [
        (
            make_job(
                condition(
                    "Failed",
                    "PodFailurePolicy",
                    "Pod team-a/p has condition DisruptionTarget matching FailJob rule at index 0",
                )
            ),
            [],
        ),
        (
            make_job(FAILED),
            [make_pod("Failed", conditions=[condition("DisruptionTarget", "Drain")])],
        ),
    ],
)
def test_a_pod_that_had_to_go_for_another_is_no_failure(
    job: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    attempt = attempt_of(job, pods)
    assert attempt.preempted
    assert view_attempts([attempt]).failures == 1


def test_a_pod_that_used_more_than_it_asked_for_failed_by_itself() -> None:
    text = "Pod ephemeral local storage usage exceeds the total limit of containers 10Gi."
    pod = make_pod("Failed", message=text, conditions=[condition("DisruptionTarget")])
    attempt = attempt_of(make_job(FAILED), [pod])
    assert not attempt.preempted
    assert attempt.last_words == text


def test_an_end_of_which_nothing_is_known_has_no_exit_code() -> None:
    attempt = attempt_of(make_job(FAILED), [])
    assert attempt.exit_code is None
    assert attempt.last_words == FAILED["message"]


def test_a_job_that_is_being_deleted_runs_until_it_is_gone() -> None:
    attempt = attempt_of(make_job(deletionTimestamp=ENDED), [make_pod()])
    assert (attempt.ended, attempt.stopped) == (False, True)
    over = attempt_of(make_job(condition("Complete"), deletionTimestamp=ENDED), [])
    assert (over.ended, over.stopped) == (True, False)


@pytest.mark.parametrize(
    ("pod", "waiting"),
    [
        (
            make_pod(
                "Pending",
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": UNSCHEDULABLE,
                    }
                ],
            ),
            ("Unschedulable", UNSCHEDULABLE),
        ),
        (
            make_pod(
                "Pending",
                containerStatuses=container(
                    waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
                ),
            ),
            ("ImagePullBackOff", "Back-off pulling image"),
        ),
        (
            make_pod(
                "Pending",
                containerStatuses=container(
                    waiting={
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "strandline-storage" not found',
                    }
                ),
            ),
            ("CreateContainerConfigError", 'secret "strandline-storage" not found'),
        ),
        (
            make_pod("Pending", containerStatuses=container(waiting={"reason": "PodInitializing"})),
            None,
        ),
        (make_pod("Running"), None),
    ],
)
def test_what_a_pod_waits_for_is_told(pod: dict[str, Any], waiting: tuple[str, str] | None) -> None:
    assert attempt_of(make_job(), [pod]).waiting == waiting


def test_a_job_that_its_queue_holds_waits_for_it() -> None:
    waiting = attempt_of(make_job(suspend=True), []).waiting
    assert waiting is not None
    assert waiting[0] == "Queued"


def test_little_is_kept_of_jobs_and_pods() -> None:
    job, pod = make_job(), make_pod(containerStatuses=container(running={}), podIP="10.0.0.1")
    assert "managedFields" not in job["metadata"]
    assert job["spec"] == {"suspend": False}
    assert "podIP" not in pod["status"]
