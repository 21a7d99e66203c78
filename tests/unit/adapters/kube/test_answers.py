from __future__ import annotations

import json
from typing import Any

import pytest

from strandline.adapters.kube.answers import (
    ExpiredError,
    TerminatingNamespaceError,
    error_of,
    status_of,
)
from strandline.adapters.kube.resources import JOBS, NODES, ObjectKey, key_of
from strandline.spec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        (404, {"reason": "NotFound"}, NotFoundError),
        (409, {"reason": "AlreadyExists"}, AlreadyExistsError),
        (409, {"reason": "Conflict"}, ConflictError),
        (410, {"reason": "Expired"}, ExpiredError),
        (403, {"reason": "Forbidden"}, PermissionDeniedError),
        (401, {"reason": "Unauthorized"}, PermissionDeniedError),
        (
            403,
            {"reason": "Forbidden", "details": {"causes": [{"reason": "NamespaceTerminating"}]}},
            TerminatingNamespaceError,
        ),
        (422, {"reason": "Invalid"}, InvalidSpecError),
        (429, {"reason": "TooManyRequests"}, UnavailableError),
        (500, {}, UnavailableError),
        (504, {"reason": "Timeout"}, UnavailableError),
    ],
)
def test_a_refusal_becomes_the_error_that_it_means(
    code: int, status: dict[str, Any], expected: type[Exception]
) -> None:
    assert type(error_of(code, status, "GET /x")) is expected


def test_an_answer_that_is_no_status_is_quoted() -> None:
    proxy = status_of(b"<html>bad gateway</html>")
    assert "bad gateway" in str(error_of(502, proxy, "GET /x"))
    secret = status_of(json.dumps({"kind": "Secret", "data": {}}).encode())
    assert secret.get("kind") is None


def test_paths_are_those_of_the_api() -> None:
    assert JOBS.path("team", "a", "status") == "/apis/batch/v1/namespaces/team/jobs/a/status"
    assert JOBS.path() == "/apis/batch/v1/jobs"
    assert NODES.path(*ObjectKey("", "n")) == "/api/v1/nodes/n"
    assert JOBS.path("a/../b", "x?y") == "/apis/batch/v1/namespaces/a%2F..%2Fb/jobs/x%3Fy"


def test_the_key_of_an_object_of_the_cluster_has_no_namespace() -> None:
    assert str(key_of({"metadata": {"name": "n"}})) == "n"
    assert str(key_of({"metadata": {"namespace": "team", "name": "n"}})) == "team/n"
