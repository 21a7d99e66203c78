"""Refusals of the apiserver, in words for whoever ran the command."""

from __future__ import annotations

from typing import Any

import pytest

from strandline.adapters.kube.answers import error_of
from strandline.adapters.kube.refusals import explain
from strandline.spec.errors import (
    ConflictError,
    InvalidSpecError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    StrandlineError,
    UnavailableError,
)

PATH = "GET /apis/strandline.dev/v1alpha1/namespaces/birds/searches"


@pytest.mark.parametrize(
    ("code", "status", "expected", "words"),
    [
        (401, {"message": "Unauthorized"}, PermissionDeniedError, "sign in to it anew"),
        (403, {"message": "you cannot list"}, PermissionDeniedError, "you cannot list. Ask an"),
        (404, {"message": "404 page not found"}, MissingExtraError, "no searches.strandline.dev"),
        (404, {"message": 'searches "a" not found'}, NotFoundError, 'searches "a" not found'),
        (409, {"message": "modified"}, ConflictError, "modified"),
        (422, {"message": "spec.seed: too low"}, InvalidSpecError, "spec.seed: too low"),
        (503, {"message": "etcd is away"}, UnavailableError, "cannot answer now: etcd is away"),
    ],
)
def test_each_refusal_says_what_to_do_and_keeps_its_class(
    code: int, status: dict[str, Any], expected: type[StrandlineError], words: str
) -> None:
    told = explain(error_of(code, status, PATH), "https://there", "birds")
    assert isinstance(told, expected)
    assert words in str(told)
    assert "HTTP" not in str(told)
    assert "/apis" not in str(told)


def test_no_answer_names_the_cluster() -> None:
    told = explain(UnavailableError("GET /x: no answer: refused"), "https://there", "birds")
    assert isinstance(told, UnavailableError)
    assert "https://there does not answer" in str(told)


def test_what_no_server_said_stays_as_it_is() -> None:
    error = InvalidSpecError("no kubeconfig")
    assert explain(error, "https://there", "birds") is error
