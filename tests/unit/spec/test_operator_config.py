"""What the operator's file may say, and what it says of mistakes."""

from __future__ import annotations

import pytest

from strandline.spec.errors import InvalidSpecError
from strandline.spec.operator_config import ExecutionMode, read_operator_config

LEAST = "jobs: {image: example.com/jobs}\n"


def test_an_image_is_enough() -> None:
    config = read_operator_config(LEAST)
    assert config.execution.mode is ExecutionMode.POD
    assert (config.namespaces, config.workers) == ([], 4)
    assert config.jobs.resources_of("Search").memory == "2Gi"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "jobs"),
        ("jobs: {image: x, imag: y}", "imag"),
        ("jobs: {image: x, resources: {Sarch: {cpu: 1}}}", "Sarch"),
        (LEAST + "execution: {mode: static}", "need rayAddress"),
        (LEAST + "execution: {rayAddress: 'x:1'}", "need rayAddress"),
        (LEAST + "namespaces: [a, a]", "twice"),
        (LEAST + "workers: many", "workers"),
        ("a: [", "no YAML"),
    ],
)
def test_a_mistake_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidSpecError, match=r"operator\.yaml") as caught:
        read_operator_config(text)
    assert said in str(caught.value)
