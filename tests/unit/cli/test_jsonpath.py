"""The JSONPath that printer columns, waiting and sorting share."""

from __future__ import annotations

from typing import Any

import pytest

from strandline.cli.jsonpath import find, find_one
from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import KINDS

DOCUMENT: dict[str, Any] = {
    "metadata": {"name": "a", "labels": {"example.com/team": "birds"}},
    "spec": {"suspend": False, "version": None},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "ok": True},
            {"type": "Stalled", "status": "False", "ok": False},
        ]
    },
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".metadata.name", ["a"]),
        ("{.metadata.name}", ["a"]),
        ("metadata.name", ["a"]),
        ("$.metadata.name", ["a"]),
        (".metadata.labels['example.com/team']", ["birds"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type == 'Stalled')].status", ["False"]),
        (".status.conditions[?(@.ok==true)].type", ["Ready"]),
        (".status.conditions[0].type", ["Ready"]),
        (".status.conditions[-1].type", ["Stalled"]),
        (".status.conditions[*].type", ["Ready", "Stalled"]),
        (".status.conditions[7].type", []),
        (".status.nowhere.deeper", []),
        (".metadata.name[0]", []),
        (".metadata.name.deeper", []),
        (".spec.suspend", [False]),
        ("", [DOCUMENT]),
    ],
)
def test_paths_lead_to_values(path: str, expected: list[Any]) -> None:
    assert find(path, DOCUMENT) == expected


@pytest.mark.parametrize("path", [".a[", ".a[?(@.b)]", ".a..b", ".a b", "[x]"])
def test_a_path_that_cannot_be_read_is_refused(path: str) -> None:
    with pytest.raises(InvalidSpecError, match="cannot be read"):
        find(path, DOCUMENT)


def test_every_printer_column_can_be_read() -> None:
    for model in KINDS.values():
        for column in model.names.columns:
            find_one(column.path, DOCUMENT)
