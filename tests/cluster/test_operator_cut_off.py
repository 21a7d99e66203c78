"""The operator is killed after every single write it does, and nothing is lost or made twice.

One undisturbed run of a whole life – import, a search whose job crashes once, its model, and
the deletion of all three – tells how many writes that takes, on the API and in the catalog.
Then each of them is the last one of its operator, and another operator goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from tests.cluster.control_plane import ControlPlane
from tests.cluster.operator_place import (
    DATASET,
    DEFAULT_JOBS,
    SEARCH,
    World,
    bare_plane,
)
from tests.servers.postgres import PostgresServer

from strandline.adapters.kube.cluster_agent import FINALIZER
from strandline.adapters.kube.resources import key_of
from strandline.adapters.sql import Database
from strandline.compose_cluster import Operator
from strandline.spec.errors import NotFoundError
from strandline.testing.searches import PowerCut

pytestmark = [pytest.mark.apiserver, pytest.mark.postgres, pytest.mark.slow]

MANY = 1_000_000
_numbers = count()


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    made = Database(postgres_server.make_database())
    yield made
    made.close()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with bare_plane(tmp_path_factory.mktemp("operator")) as plane:
        yield plane


class Life:
    """The life of a Dataset, a Search and a Model; goes on where an operator left it."""

    def __init__(self, plane: ControlPlane, database: Database) -> None:
        self.world = World(plane, f"life-{next(_numbers)}", database, DEFAULT_JOBS)
        self.world.apply("Dataset", "coast", DATASET)
        self.world.apply("Search", "quick", SEARCH)
        self.phase = 0
        self.grown: Any = None

    def go_on(self, operator: Operator) -> None:
        world = self.world
        if self.phase == 0:
            world.go_on(operator, self._is_grown)
            self.grown = self._state()
            world.delete("Search", "quick")
            self.phase = 1
        if self.phase == 1:
            world.go_on(operator, lambda: not self._rows("Search") and self._is_quiet())
            world.delete("Dataset", "coast")
            world.delete("Model", "coast")
            self.phase = 2
        if self.phase == 2:
            world.go_on(operator, lambda: not self._rows("Dataset", "Model") and self._is_quiet())
            self.phase = 3

    def _is_grown(self) -> bool:
        world = self.world
        ready = [("Dataset", "coast"), ("Search", "quick"), ("Model", "coast")]
        if any(world.condition(*each)[0] != "True" for each in ready):
            return False
        dataset = world.get("Dataset", "coast")
        assert dataset is not None
        return FINALIZER not in (dataset["metadata"].get("finalizers") or ())

    def _state(self) -> Any:
        """Return all that must be the same however often operators were killed."""
        world = self.world
        search = world.catalog.get_resource("Search", "quick")
        statuses = {
            kind: (document.get("status") or {})
            for kind, name in (("Dataset", "coast"), ("Search", "quick"), ("Model", "coast"))
            if (document := world.get(kind, name))
        }
        return {
            "jobs": sorted(
                key_of(job).name.replace(search.uid[:8], "U")
                for job in world.jobs()
                if "search" in key_of(job).name
            ),
            "started": list(world.started),
            "trials": [trial.number for trial in world.catalog.list_trials(search.uid)],
            "models": [each.version for each in world.catalog.list_model_versions("coast")],
            "datasets": [each.version for each in world.catalog.list_dataset_versions("coast")],
            "conditions": {kind: _told(status) for kind, status in statuses.items()},
        }

    def _rows(self, *kinds: str) -> list[str]:
        marks = self.world.catalog.resource_versions()
        return [mark.name for mark in marks if mark.kind in kinds]

    def _is_quiet(self) -> bool:
        owned = {"Search"} if self.phase == 1 else {"Search", "Dataset"}
        jobs = [job["metadata"]["labels"]["strandline.dev/kind"] for job in self.world.jobs()]
        return not owned & set(jobs)


def _told(status: Any) -> list[tuple[str, str, str]]:
    return sorted((c["type"], c["status"], c["reason"]) for c in status["conditions"])


def test_an_operator_killed_after_any_write_leaves_nothing_lost_or_doubled(
    kinds: ControlPlane, database: Database
) -> None:
    undisturbed = Life(kinds, database)
    left = [MANY]
    with undisturbed.world.operator(left) as operator:
        undisturbed.go_on(operator)
    writes = MANY - left[0]
    assert undisturbed.grown["trials"] == [0, 1]
    assert undisturbed.grown["models"] == [1]
    assert writes > 20
    for allowed in count():
        life = Life(kinds, database)
        with life.world.operator([allowed]) as operator:
            cut = _is_cut(life, operator)
        with life.world.operator() as operator:
            life.go_on(operator)
        assert life.grown == undisturbed.grown, f"killed after write {allowed}"
        if not cut:
            break
    # Caches that lag make a run write a little more or less than another.
    assert allowed > 0.7 * writes


def _is_cut(life: Life, operator: Operator) -> bool:
    try:
        life.go_on(operator)
    except PowerCut:
        return True
    return False


def test_operators_killed_after_each_of_their_writes_come_to_the_same_end(
    kinds: ControlPlane, database: Database
) -> None:
    life = Life(kinds, database)
    for number in range(MANY):
        assert number < 500, "operators that do one write each come to no end"
        with life.world.operator([1]) as operator:
            if not _is_cut(life, operator):
                break
    assert life.phase == 3
    with pytest.raises(NotFoundError):
        life.world.catalog.get_resource("Search", "quick")
    assert life.world.started == [
        ("Dataset", "coast", 1),
        ("Search", "quick", 1),
        ("Search", "quick", 2),
    ]
