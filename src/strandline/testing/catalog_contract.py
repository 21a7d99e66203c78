"""What every `ports.Catalog` keeps, as tests: subclass and say how to open yours.

class TestMyCatalog(CatalogContract):
    @pytest.fixture
    def open_catalog(self) -> OpenCatalog: ...
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from threading import Barrier
from typing import Any

import pytest

from strandline.ports import Catalog
from strandline.spec.errors import ConflictError, InvalidSpecError, NotFoundError
from strandline.spec.records import (
    DatasetVersion,
    Event,
    Failure,
    FailureKind,
    ModelVersion,
    Task,
    Trial,
    TrialState,
    digest_of,
)

OpenCatalog = Callable[[], Catalog]

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
RACERS = 8


def make_dataset_version(data: str = "data", **fields: Any) -> DatasetVersion:
    """Build a minimal version; `data` decides its digest."""
    defaults: dict[str, Any] = {
        "dataset": "coast",
        "version": 0,
        "digest": digest_of(data.encode()),
        "task": Task.MULTICLASS,
        "labels": ("cat", "dog"),
        "items_object": digest_of(b"items"),
        "items": 2,
        "labeled": 2,
        "created_at": NOON,
    }
    return DatasetVersion(**{**defaults, **fields})


def make_model_version(bundle: str = "bundle", **fields: Any) -> ModelVersion:
    """Build a minimal version; `bundle` decides the bundle's digest."""
    defaults: dict[str, Any] = {
        "model": "coast",
        "version": 0,
        "bundle": digest_of(bundle.encode()),
        "task": Task.MULTILABEL,
        "labels": ("cat",),
        "dataset": "coast",
        "dataset_digest": digest_of(b"data"),
        "created_at": NOON,
    }
    return ModelVersion(**{**defaults, **fields})


def make_event(number: int = 0, **fields: Any) -> Event:
    """Build a minimal event."""
    defaults: dict[str, Any] = {
        "kind": "Search",
        "name": "quick",
        "type": "Normal",
        "reason": "Started",
        "message": f"event {number}",
        "at": NOON + timedelta(seconds=number),
    }
    return Event(**{**defaults, **fields})


class CatalogContract:
    """The suite. `open_catalog` opens the same catalog anew at each call."""

    @pytest.fixture
    def open_catalog(self) -> OpenCatalog:
        """Return what opens the catalog under test; each call opens the same one."""
        raise NotImplementedError

    @pytest.fixture
    def catalog(self, open_catalog: OpenCatalog) -> Catalog:
        """Return the catalog under test, empty."""
        return open_catalog()

    # ------------------------------------------------------------ resources

    def test_a_resource_is_created_then_unchanged_then_configured(self, catalog: Catalog) -> None:
        made, first = catalog.apply_resource("Search", "quick", {"budget": {"trials": 4}})
        same, second = catalog.apply_resource("Search", "quick", {"budget": {"trials": 4}})
        more, third = catalog.apply_resource("Search", "quick", {"budget": {"trials": 5}})
        assert (first, second, third) == ("created", "unchanged", "configured")
        assert made == same
        assert (made.generation, more.generation) == (1, 2)
        assert more.resource_version > made.resource_version
        assert (more.uid, more.created_at) == (made.uid, made.created_at)
        assert catalog.get_resource("Search", "quick") == more
        assert more.spec == {"budget": {"trials": 5}}
        assert made.created_at.tzinfo is not None

    def test_labels_change_a_resource_but_not_its_generation(self, catalog: Catalog) -> None:
        catalog.apply_resource("Model", "m", {}, {"team": "a"}, {"note": "x"})
        changed, outcome = catalog.apply_resource("Model", "m", {}, {"team": "b"}, {"note": "x"})
        assert outcome == "configured"
        assert (changed.generation, changed.labels) == (1, {"team": "b"})

    def test_labels_and_annotations_that_are_not_given_stay(self, catalog: Catalog) -> None:
        catalog.apply_resource("Model", "m", {}, {"team": "a"}, {"note": "x"})
        kept, outcome = catalog.apply_resource("Model", "m", {"source": 1})
        assert outcome == "configured"
        assert (kept.labels, kept.annotations) == ({"team": "a"}, {"note": "x"})
        removed, _ = catalog.apply_resource("Model", "m", {"source": 1}, {}, {})
        assert (removed.labels, removed.annotations) == ({}, {})

    @pytest.mark.parametrize(
        ("before", "after", "outcome"),
        [
            ({"a": 1}, {"a": True}, "configured"),
            ({"a": (1, 2)}, {"a": [1, 2]}, "unchanged"),
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "unchanged"),
            ({"a": "ä\u2028😀"}, {"a": "ä\u2028😀"}, "unchanged"),
            ({"a": None}, {}, "configured"),
        ],
    )
    def test_specs_are_compared_as_json(
        self, catalog: Catalog, before: dict[str, Any], after: dict[str, Any], outcome: str
    ) -> None:
        catalog.apply_resource("Model", "m", before)
        assert catalog.apply_resource("Model", "m", after)[1] == outcome

    def test_a_number_that_json_cannot_hold_is_refused(self, catalog: Catalog) -> None:
        with pytest.raises(InvalidSpecError):
            catalog.apply_resource("Model", "m", {"a": math.nan})
        with pytest.raises(NotFoundError):
            catalog.get_resource("Model", "m")

    def test_the_same_name_of_another_kind_is_another_resource(self, catalog: Catalog) -> None:
        catalog.apply_resource("Model", "x", {"a": 1})
        catalog.apply_resource("Dataset", "x", {"a": 2})
        assert catalog.get_resource("Model", "x").spec == {"a": 1}

    def test_a_resource_that_is_not_there_is_not_found(self, catalog: Catalog) -> None:
        with pytest.raises(NotFoundError, match="nope"):
            catalog.get_resource("Model", "nope")
        with pytest.raises(NotFoundError, match="nope"):
            catalog.update_status("Model", "nope", {})
        with pytest.raises(NotFoundError, match="nope"):
            catalog.delete_resource("Model", "nope")

    def test_resources_are_listed_page_by_page_in_the_order_of_code_points(
        self, catalog: Catalog
    ) -> None:
        names = ["a-b", "ab", "a.b", "aa", "b1", "b-1", "a"]
        for name in names:
            catalog.apply_resource("Model", name, {})
        catalog.apply_resource("Dataset", "other", {})
        listed = [each.name for each in catalog.list_resources("Model")]
        assert listed == sorted(names)
        assert [each.name for each in catalog.list_resources("Model", limit=2)] == listed[:2]
        rest = catalog.list_resources("Model", after=listed[1])
        assert [each.name for each in rest] == listed[2:]

    def test_a_selector_asks_for_all_its_labels(self, catalog: Catalog) -> None:
        key = "app.kubernetes.io/part-of"
        catalog.apply_resource("Model", "a", {}, {key: "x", "tier": "1"})
        catalog.apply_resource("Model", "b", {}, {key: "x"})
        catalog.apply_resource("Model", "c", {}, {key: "y"})
        catalog.apply_resource("Model", "d", {})

        def select(**labels: str) -> list[str]:
            return [each.name for each in catalog.list_resources("Model", labels)]

        assert select(**{key: "x"}) == ["a", "b"]
        assert select(**{key: "x", "tier": "1"}) == ["a"]
        assert select(absent="x") == []
        assert select() == ["a", "b", "c", "d"]

    def test_a_status_is_replaced_whole_and_leaves_the_spec(self, catalog: Catalog) -> None:
        made, _ = catalog.apply_resource("Search", "s", {"a": 1})
        catalog.update_status("Search", "s", {"phase": "Running", "trials": 3})
        after = catalog.update_status("Search", "s", {"phase": "Done"})
        assert (after.status, after.spec, after.generation) == ({"phase": "Done"}, {"a": 1}, 1)
        assert after.resource_version > made.resource_version
        configured, _ = catalog.apply_resource("Search", "s", {"a": 2})
        assert configured.status == {"phase": "Done"}

    def test_a_status_is_not_written_over_a_change_nobody_saw(self, catalog: Catalog) -> None:
        seen, _ = catalog.apply_resource("Search", "s", {})
        catalog.update_status("Search", "s", {"by": "first"}, seen.resource_version)
        with pytest.raises(ConflictError, match="read it again"):
            catalog.update_status("Search", "s", {"by": "second"}, seen.resource_version)
        assert catalog.get_resource("Search", "s").status == {"by": "first"}

    def test_deleting_a_training_takes_all_that_it_ever_ran_along(self, catalog: Catalog) -> None:
        training, _ = catalog.apply_resource("Training", "deep", {})
        other, _ = catalog.apply_resource("Training", "other", {})
        for uid in (f"{training.uid}/first", f"{training.uid}/second", f"{other.uid}/first"):
            catalog.record_trial(Trial(search=uid, number=0, candidate={}))
            catalog.record_metrics(uid, 0, 1, {"loss": 1.0})
        catalog.delete_resource("Training", "deep")
        assert catalog.list_trials(f"{training.uid}/first") == []
        assert catalog.list_metrics(f"{training.uid}/second", 0) == []
        assert len(catalog.list_trials(f"{other.uid}/first")) == 1

    def test_deleting_a_search_takes_its_trials_and_events_along(self, catalog: Catalog) -> None:
        search, _ = catalog.apply_resource("Search", "quick", {})
        other, _ = catalog.apply_resource("Search", "other", {})
        for uid in (search.uid, other.uid):
            catalog.record_trial(Trial(search=uid, number=0, candidate={}))
            catalog.record_metrics(uid, 0, 1, {"loss": 1.0})
        catalog.record_event(make_event())
        catalog.record_event(make_event(name="other"))
        catalog.delete_resource("Search", "quick")
        assert catalog.list_trials(search.uid) == []
        assert catalog.list_metrics(search.uid, 0) == []
        assert catalog.list_events("Search", "quick") == []
        assert len(catalog.list_trials(other.uid)) == 1
        assert catalog.list_metrics(other.uid, 0) == [(1, {"loss": 1.0})]
        assert len(catalog.list_events("Search", "other")) == 1
        again, outcome = catalog.apply_resource("Search", "quick", {})
        assert outcome == "created"
        assert again.uid != search.uid

    def test_deleting_a_dataset_or_model_takes_its_versions_along(self, catalog: Catalog) -> None:
        for kind in ("Dataset", "Model"):
            catalog.apply_resource(kind, "coast", {})
        catalog.add_dataset_version(make_dataset_version())
        catalog.add_dataset_version(make_dataset_version(dataset="other"))
        catalog.add_model_version(make_model_version())
        catalog.delete_resource("Dataset", "coast")
        assert catalog.list_dataset_versions("coast") == []
        assert len(catalog.list_dataset_versions("other")) == 1
        assert len(catalog.list_model_versions("coast")) == 1
        catalog.delete_resource("Model", "coast")
        assert catalog.list_model_versions("coast") == []

    # ------------------------------------------------------------ events

    def test_the_newest_events_come_oldest_first(self, catalog: Catalog) -> None:
        events = [make_event(number) for number in range(5)]
        for event in events:
            catalog.record_event(event)
        catalog.record_event(make_event(9, kind="Model"))
        assert catalog.list_events("Search", "quick") == events
        assert catalog.list_events("Search", "quick", limit=2) == events[-2:]

    def test_an_event_keeps_its_moment_whatever_its_zone(self, catalog: Catalog) -> None:
        zone = timezone(timedelta(hours=5, minutes=30))
        catalog.record_event(make_event(at=NOON.astimezone(zone)))
        (event,) = catalog.list_events("Search", "quick")
        assert event.at == NOON
        assert event.at.utcoffset() == timedelta(0)

    # ------------------------------------------------------------ versions

    def test_versions_are_numbered_from_one(self, catalog: Catalog) -> None:
        first = catalog.add_dataset_version(make_dataset_version("one", version=77))
        second = catalog.add_dataset_version(make_dataset_version("two", parent=first.digest))
        other = catalog.add_dataset_version(make_dataset_version("two", dataset="other"))
        assert [first.version, second.version, other.version] == [1, 2, 1]
        assert catalog.get_dataset_version("coast") == second
        assert catalog.get_dataset_version("coast", 1) == first
        assert catalog.list_dataset_versions("coast") == [first, second]

    def test_the_digest_of_the_newest_version_makes_no_new_one(self, catalog: Catalog) -> None:
        first = catalog.add_dataset_version(make_dataset_version("one"))
        later = NOON + timedelta(days=1)
        again = catalog.add_dataset_version(make_dataset_version("one", created_at=later))
        assert again == first
        catalog.add_dataset_version(make_dataset_version("two"))
        back = catalog.add_dataset_version(make_dataset_version("one"))
        assert back.version == 3

    def test_model_versions_follow_the_same_rules(self, catalog: Catalog) -> None:
        first = catalog.add_model_version(make_model_version("one", metrics={"auc": 0.125}))
        again = catalog.add_model_version(make_model_version("one"))
        second = catalog.add_model_version(make_model_version("two", search="uid"))
        assert again == first
        assert second.version == 2
        assert catalog.get_model_version("coast") == second
        assert catalog.get_model_version("coast", 1).metrics == {"auc": 0.125}
        assert catalog.list_model_versions("coast") == [first, second]

    def test_a_version_that_is_not_there_is_not_found(self, catalog: Catalog) -> None:
        catalog.add_dataset_version(make_dataset_version())
        with pytest.raises(NotFoundError, match="version 2"):
            catalog.get_dataset_version("coast", 2)
        with pytest.raises(NotFoundError, match="nope"):
            catalog.get_dataset_version("nope")
        with pytest.raises(NotFoundError, match="nope"):
            catalog.get_model_version("nope")
        assert catalog.list_model_versions("nope") == []

    # ------------------------------------------------------------ trials

    def test_a_trial_comes_back_as_it_was_recorded(self, catalog: Catalog) -> None:
        trial = Trial(
            search="uid",
            number=3,
            candidate={"rate": 0.1 + 0.2, "head": "mlp", "flip": True, "none": None, "n": 7},
            state=TrialState.FAILED,
            step=4,
            metrics={"val/loss": 1e-300},
            failure=Failure(kind=FailureKind.OUT_OF_MEMORY, message="killed"),
            seconds=1.5,
            started_at=NOON,
            ended_at=NOON + timedelta(microseconds=1),
        )
        catalog.record_trial(trial)
        assert catalog.list_trials("uid") == [trial]

    def test_recording_a_trial_again_replaces_its_row(self, catalog: Catalog) -> None:
        trial = Trial(search="uid", number=0, candidate={"a": 1})
        catalog.record_trial(trial)
        done = trial.model_copy(update={"state": TrialState.COMPLETED, "step": 9})
        catalog.record_trial(done)
        assert catalog.list_trials("uid") == [done]

    def test_trials_are_listed_page_by_page(self, catalog: Catalog) -> None:
        for number in (10, 2, 0, 1):
            catalog.record_trial(Trial(search="uid", number=number, candidate={}))
        catalog.record_trial(Trial(search="other", number=5, candidate={}))
        assert [each.number for each in catalog.list_trials("uid")] == [0, 1, 2, 10]
        assert [each.number for each in catalog.list_trials("uid", limit=2, after=0)] == [1, 2]

    def test_a_trials_metric_that_is_no_number_is_left_out(self, catalog: Catalog) -> None:
        metrics = {"loss": math.nan, "top": math.inf, "acc": 0.5}
        catalog.record_trial(Trial(search="uid", number=0, candidate={}, metrics=metrics))
        assert catalog.list_trials("uid")[0].metrics == {"acc": 0.5}

    def test_metrics_are_kept_by_step_and_replaced_whole(self, catalog: Catalog) -> None:
        catalog.record_metrics("uid", 0, 10, {"loss": 0.1})
        catalog.record_metrics("uid", 0, 2, {"loss": 0.3, "old": 1.0})
        catalog.record_metrics("uid", 0, 2, {"loss": 0.2, "acc": 5.0})
        catalog.record_metrics("uid", 1, 1, {"loss": 9.0})
        found = catalog.list_metrics("uid", 0)
        assert found == [(2, {"acc": 5.0, "loss": 0.2}), (10, {"loss": 0.1})]
        assert catalog.list_metrics("uid", 7) == []

    def test_a_metric_that_is_no_number_reads_as_nan(self, catalog: Catalog) -> None:
        catalog.record_metrics("uid", 0, 1, {"loss": math.nan, "acc": 0.5})
        ((_, metrics),) = catalog.list_metrics("uid", 0)
        assert math.isnan(metrics["loss"])
        assert metrics["acc"] == 0.5

    # ------------------------------------------------------------ pointers

    def test_a_pointer_moves_only_from_where_it_was_seen(self, catalog: Catalog) -> None:
        assert catalog.read_pointer("p") is None
        assert not catalog.swap_pointer("p", "old", "new")
        assert catalog.swap_pointer("p", None, "one")
        assert not catalog.swap_pointer("p", None, "two")
        assert not catalog.swap_pointer("p", "two", "three")
        assert catalog.swap_pointer("p", "one", "two")
        assert catalog.read_pointer("p") == "two"
        assert not catalog.swap_pointer("p", "one", None)
        assert catalog.swap_pointer("p", "two", None)
        assert catalog.read_pointer("p") is None
        assert catalog.swap_pointer("p", None, None)

    # ------------------------------------------------------------ several writers at once

    def test_of_racing_creators_one_creates(self, open_catalog: OpenCatalog) -> None:
        def create(catalog: Catalog, number: int) -> str:
            return catalog.apply_resource("Model", "m", {"by": 1}, {"by": "all"})[1]

        outcomes = self._race(open_catalog, create)
        assert sorted(outcomes) == ["created"] + ["unchanged"] * (RACERS - 1)

    def test_racing_versions_get_each_number_once(self, open_catalog: OpenCatalog) -> None:
        def add(catalog: Catalog, number: int) -> int:
            return catalog.add_dataset_version(make_dataset_version(f"{number}")).version

        assert sorted(self._race(open_catalog, add)) == list(range(1, RACERS + 1))

    def test_racing_adds_of_one_digest_make_one_version(self, open_catalog: OpenCatalog) -> None:
        def add(catalog: Catalog, number: int) -> int:
            return catalog.add_model_version(make_model_version("same")).version

        assert set(self._race(open_catalog, add)) == {1}
        assert len(open_catalog().list_model_versions("coast")) == 1

    def test_of_racing_swaps_one_wins(self, open_catalog: OpenCatalog) -> None:
        def swap(catalog: Catalog, number: int) -> bool:
            return catalog.swap_pointer("leader", None, f"{number}")

        assert sum(self._race(open_catalog, swap)) == 1

    def test_increments_by_compare_and_swap_lose_nothing(self, open_catalog: OpenCatalog) -> None:
        def increment(catalog: Catalog, number: int) -> int:
            for _ in range(5):
                while True:
                    seen = catalog.read_pointer("count")
                    if catalog.swap_pointer("count", seen, str(int(seen or 0) + 1)):
                        break
            return number

        self._race(open_catalog, increment)
        assert open_catalog().read_pointer("count") == str(5 * RACERS)

    def test_no_row_is_lost_when_all_write_at_once(self, open_catalog: OpenCatalog) -> None:
        def write(catalog: Catalog, number: int) -> int:
            for step in range(5):
                catalog.record_trial(Trial(search="uid", number=number, candidate={}, step=step))
                catalog.record_metrics("uid", number, step, {"loss": float(step)})
                catalog.record_event(make_event(step))
            return number

        self._race(open_catalog, write)
        catalog = open_catalog()
        assert [each.step for each in catalog.list_trials("uid")] == [4] * RACERS
        assert all(len(catalog.list_metrics("uid", number)) == 5 for number in range(RACERS))
        assert len(catalog.list_events("Search", "quick")) == 5 * RACERS

    @staticmethod
    def _race(open_catalog: OpenCatalog, body: Callable[[Catalog, int], Any]) -> list[Any]:
        """Run `body` in threads that start together, half of them sharing one catalog."""
        shared = open_catalog()
        start = Barrier(RACERS)

        def run(number: int) -> Any:
            catalog = shared if number % 2 else open_catalog()
            start.wait()
            return body(catalog, number)

        with ThreadPoolExecutor(RACERS) as threads:
            return list(threads.map(run, range(RACERS)))
