"""People with rights in a namespace of their own, on an apiserver with our kinds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.operator_place import bare_plane
from tests.cluster.terminal.people import MakePerson, Person
from tests.cluster.terminal.rights import EDIT, at_home, let

_numbers = count()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("commands")) as plane:
        yield plane


@pytest.fixture
def make_person(
    kinds: ControlPlane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[MakePerson]:
    monkeypatch.setenv("STRANDLINE_HOME", str(tmp_path / "never-made"))
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def make(rules: list[dict[str, Any]]) -> Person:
        number = next(_numbers)
        namespace, name = f"people-{number}", f"ann-{number}"
        kinds.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        )
        let(kinds.kubectl, namespace, name, rules)
        return Person(kinds, namespace, at_home(kinds.user(name), namespace))

    yield make
    assert not (tmp_path / "never-made").exists(), "a cluster's command made a home here"


@pytest.fixture
def ann(make_person: MakePerson) -> Person:
    """Somebody with the role `edit`."""
    return make_person(EDIT)
