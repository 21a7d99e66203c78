"""What every `ports.Catalog` keeps about documents that come from an apiserver."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from strandline.ports import Adoption, Catalog, Resource, ResourceMark
from strandline.spec.errors import ConflictError, NotFoundError
from strandline.spec.records import Trial
from strandline.testing.catalog_contract import (
    NOON,
    CatalogContract,
    make_dataset_version,
    make_event,
    make_model_version,
)


def make_adopted(**fields: Any) -> Resource:
    """Build a minimal document as an apiserver has it."""
    defaults: dict[str, Any] = {
        "kind": "Search",
        "name": "quick",
        "uid": "uid-1",
        "generation": 1,
        "resource_version": 0,
        "labels": {},
        "annotations": {},
        "spec": {"dataset": {"name": "coast"}},
        "status": {},
        "created_at": NOON,
    }
    return Resource(**{**defaults, **fields})


class AdoptionContract(CatalogContract):
    """The suite, besides that of catalogs in general."""

    def test_a_document_is_adopted_under_its_own_uid_and_generation(self, catalog: Catalog) -> None:
        row, outcome = catalog.adopt_resource(make_adopted(generation=7, labels={"team": "a"}))
        assert outcome is Adoption.CREATED
        assert (row.uid, row.generation, row.created_at) == ("uid-1", 7, NOON)
        assert (row.labels, row.status) == ({"team": "a"}, {})
        assert catalog.get_resource("Search", "quick") == row

    def test_adopting_again_changes_nothing(self, catalog: Catalog) -> None:
        first, _ = catalog.adopt_resource(make_adopted())
        again, outcome = catalog.adopt_resource(make_adopted(resource_version=99, status={"a": 1}))
        assert outcome is Adoption.UNCHANGED
        assert again == first

    def test_an_edit_keeps_the_status(self, catalog: Catalog) -> None:
        catalog.adopt_resource(make_adopted())
        seen = catalog.update_status("Search", "quick", {"trials": 3})
        edited, outcome = catalog.adopt_resource(make_adopted(generation=2, spec={"suspend": True}))
        assert outcome is Adoption.CONFIGURED
        assert (edited.generation, edited.spec) == (2, {"suspend": True})
        assert edited.status == {"trials": 3}
        assert edited.resource_version > seen.resource_version

    def test_labels_are_followed_within_a_generation(self, catalog: Catalog) -> None:
        catalog.adopt_resource(make_adopted(labels={"team": "a"}, annotations={"note": "x"}))
        row, outcome = catalog.adopt_resource(make_adopted(labels={"team": "b"}))
        assert outcome is Adoption.CONFIGURED
        assert (row.labels, row.annotations, row.generation) == ({"team": "b"}, {}, 1)

    def test_an_older_generation_takes_nothing_back(self, catalog: Catalog) -> None:
        newer, _ = catalog.adopt_resource(make_adopted(generation=3, spec={"new": True}))
        row, outcome = catalog.adopt_resource(make_adopted(generation=2))
        assert outcome is Adoption.STALE
        assert row == newer == catalog.get_resource("Search", "quick")

    def test_what_an_object_of_another_uid_owned_goes_with_its_row(self, catalog: Catalog) -> None:
        catalog.adopt_resource(make_adopted())
        catalog.update_status("Search", "quick", {"trials": 3})
        catalog.record_trial(Trial(search="uid-1", number=0, candidate={}))
        catalog.record_event(make_event())
        later = NOON + timedelta(seconds=5)
        row, outcome = catalog.adopt_resource(make_adopted(uid="uid-2", created_at=later))
        assert outcome is Adoption.REPLACED
        assert (row.uid, row.status, row.created_at) == ("uid-2", {}, later)
        assert catalog.list_trials("uid-1") == []
        assert catalog.list_events("Search", "quick") == []

    def test_versions_of_a_dataset_that_was_made_again_are_gone(self, catalog: Catalog) -> None:
        dataset = make_adopted(kind="Dataset", name="coast")
        catalog.adopt_resource(dataset)
        catalog.add_dataset_version(make_dataset_version())
        catalog.adopt_resource(replace(dataset, uid="uid-2"))
        assert catalog.list_dataset_versions("coast") == []

    def test_a_late_look_at_a_deleted_object_takes_nothing_from_its_successor(
        self, catalog: Catalog
    ) -> None:
        successor = make_adopted(uid="uid-2", created_at=NOON + timedelta(seconds=5))
        catalog.adopt_resource(successor)
        catalog.record_trial(Trial(search="uid-2", number=0, candidate={}))
        row, outcome = catalog.adopt_resource(make_adopted(uid="uid-1"))
        assert outcome is Adoption.STALE
        assert row.uid == "uid-2"
        assert len(catalog.list_trials("uid-2")) == 1

    def test_a_model_that_a_job_registered_keeps_its_versions_when_it_is_adopted(
        self, catalog: Catalog
    ) -> None:
        catalog.apply_resource("Model", "coast", {})
        catalog.add_model_version(make_model_version())
        early = NOON - timedelta(days=1)
        model = make_adopted(kind="Model", name="coast", spec={}, created_at=early)
        row, outcome = catalog.adopt_resource(model)
        assert outcome is Adoption.REPLACED
        assert row.uid == "uid-1"
        assert len(catalog.list_model_versions("coast")) == 1
        catalog.adopt_resource(replace(model, uid="uid-2"))
        assert catalog.list_model_versions("coast") == []

    def test_only_the_object_that_is_meant_is_deleted(self, catalog: Catalog) -> None:
        catalog.adopt_resource(make_adopted(uid="uid-2"))
        with pytest.raises(ConflictError, match="another one"):
            catalog.delete_resource("Search", "quick", uid="uid-1")
        catalog.delete_resource("Search", "quick", uid="uid-2")
        with pytest.raises(NotFoundError):
            catalog.get_resource("Search", "quick")

    def test_a_cheap_look_tells_what_changed(self, catalog: Catalog) -> None:
        assert catalog.resource_versions() == []
        search, _ = catalog.adopt_resource(make_adopted())
        model, _ = catalog.apply_resource("Model", "coast", {})
        marks = {mark.kind: mark for mark in catalog.resource_versions()}
        version = search.resource_version
        assert marks["Search"] == ResourceMark("Search", "quick", "uid-1", version)
        assert marks["Model"].uid == model.uid
        changed = catalog.update_status("Search", "quick", {"trials": 1})
        marks = {mark.kind: mark for mark in catalog.resource_versions()}
        assert marks["Search"].resource_version == changed.resource_version > version
        assert marks["Model"].resource_version == model.resource_version
