"""A cluster's objects: those of one namespace, on its apiserver."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from strandline.adapters.kube.changes import Changes
from strandline.adapters.kube.job_logs import follow_log, read_log
from strandline.cli.output import note
from strandline.cli.place import sleep
from strandline.cli.resource_names import Target, is_optional, shown
from strandline.cli.resource_output import is_cluster_scoped
from strandline.compose import ClusterPlatform
from strandline.ports import Clock, Resource
from strandline.spec.conditions import SUSPENDED, is_settled, is_true
from strandline.spec.documents import Document
from strandline.spec.errors import (
    InvalidSpecError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from strandline.spec.records import Event
from strandline.spec.v1alpha1 import BatchPrediction, Dataset, Kind, to_document

if TYPE_CHECKING:
    from strandline.cli.place import Place

# Pods get a minute to save their step; then they are killed.
_STOP_SECONDS = 120.0


class ClusterPlace:
    """The objects of one namespace of a cluster."""

    catalog = None

    def __init__(self, platform: ClusterPlatform) -> None:
        self.platform = platform
        self._objects = platform.objects

    @property
    def clock(self) -> Clock:
        return self.platform.clock

    def get(self, kind: str, name: str) -> Resource:
        return self._objects.get(kind, name)

    def list_objects(self, kind: str, after: str | None = None) -> Iterator[Resource]:
        return self._objects.list_objects(kind, after)

    def current(self, resource: Resource) -> Resource:
        return resource

    def accept(self, documents: Sequence[Document], here: bool = False) -> list[Document]:
        problems = [text for each in documents for text in self._problems(each, here)]
        if problems:
            raise InvalidSpecError("\n".join(problems))
        return list(documents)

    def _problems(self, document: Document, here: bool) -> Iterator[str]:
        model = document.model
        name = f"{document.source}, document {document.index}"
        namespace = _own_namespace(model)
        pinned = self.platform.pinned or here
        if pinned and namespace not in (None, self._objects.namespace):
            yield (
                f"{name}: it belongs to namespace {namespace}, and this command acts in "
                f"{self._objects.namespace}: say -n {namespace}"
            )
        for uri in _addresses(model):
            if "://" not in uri and not uri.startswith("/"):
                yield (
                    f"{name}: {uri!r} starts at a folder of this machine, which pods do not see: "
                    "write s3://BUCKET/PREFIX"
                )

    def apply(self, document: Document, dry_run: bool) -> tuple[Resource, str]:
        model = document.model
        # What nobody wrote is left to the cluster's own defaults.
        wanted = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        wanted.setdefault("spec", to_document(model)["spec"])
        objects = self._objects.of(_own_namespace(model) or self._objects.namespace)
        return objects.apply(model.kind, model.metadata.name, wanted, dry_run=dry_run)

    def pick_up(self, resources: Iterable[Resource]) -> None:
        """Do nothing: the operator sees them."""

    def delete(self, resource: Resource) -> None:
        self._objects.delete(resource)

    def finish_deletion(self, resources: Sequence[Resource], wait: bool) -> None:
        """Wait until the objects and the pods that worked for them are gone."""
        deadline = self.clock.monotonic() + _STOP_SECONDS
        left = list(resources) if wait else []
        while left := [each for each in left if self._objects.is_there(each)]:
            if self.clock.monotonic() >= deadline:
                names = ", ".join(shown(each.kind, each.name) for each in left)
                raise UnavailableError(
                    f"deletion was asked for, but {names} or its pods are still there; "
                    "`describe` tells what uses it"
                )
            sleep(0.3)

    def states(self, target: Target, deadline: float) -> Iterator[Resource | None]:
        assert target.name is not None
        try:
            yield self.get(target.kind, target.name)
        except NotFoundError:
            yield None
        if self.clock.monotonic() >= deadline:
            return
        with Changes(self._objects, [(target.kind, target.name)], note) as news:
            there = False
            while (left := deadline - self.clock.monotonic()) > 0:
                change = news.next(left)
                if change is None:
                    return
                if change.resource is not None:
                    there = not change.gone
                    yield change.resource if there else None
                elif not there:
                    yield None

    def changes(self, targets: Sequence[Target]) -> Iterator[list[Resource]]:
        wanted = [(each.kind, each.name) for each in targets if self._may_be_followed(each)]
        with Changes(self._objects, wanted, note) as news:
            first: list[Resource] = []
            listed = 0
            while True:
                change = news.next()
                assert change is not None, "there is no time limit"
                if change.resource is None:
                    listed += 1
                    if listed == len(wanted) and first:
                        yield sorted(first, key=lambda each: _place_of(each, targets))
                elif change.gone:
                    continue
                elif listed < len(wanted):
                    first.append(change.resource)
                else:
                    yield [change.resource]

    def _may_be_followed(self, target: Target) -> bool:
        if is_optional(target):
            with suppress(PermissionDeniedError):
                list(self.list_objects(target.kind))
                return True
            return False
        return True

    def log(
        self, resource: Resource, lines: int, previous: bool, follow: bool
    ) -> Iterator[bytes] | None:
        if follow and not previous:
            return follow_log(
                self._objects, resource, lines, lambda: self._is_over(resource), sleep
            )
        said = read_log(self._objects, resource, lines, previous)
        return None if said is None else iter([said])

    def events(self, resource: Resource, limit: int) -> Sequence[Event]:
        with suppress(PermissionDeniedError):  # a courtesy: the page is worth showing without
            return self._objects.events(resource, limit)
        return []

    def _is_over(self, resource: Resource) -> bool:
        """Return whether no further word will come: settled, held, or gone."""
        try:
            now = self.get(resource.kind, resource.name)
        except NotFoundError:
            return True
        if now.uid != resource.uid:
            return True
        return is_settled(now.status, now.generation) or is_true(now.status, SUSPENDED)


def _own_namespace(model: Kind) -> str | None:
    """Return the namespace that a document itself names."""
    said = "namespace" in model.metadata.model_fields_set and not is_cluster_scoped(model.kind)
    return model.metadata.namespace if said else None


def _place_of(resource: Resource, targets: Sequence[Target]) -> tuple[int, str]:
    kinds = [target.kind for target in targets]
    return kinds.index(resource.kind), resource.name


def _addresses(model: Kind) -> Iterator[str]:
    """Yield the addresses in a document that a job reads or writes."""
    if isinstance(model, Dataset):
        yield model.spec.source.uri
        if model.spec.source.root is not None:
            yield model.spec.source.root
    elif isinstance(model, BatchPrediction):
        yield model.spec.output.uri
        if model.spec.source is not None:
            yield model.spec.source.uri


if TYPE_CHECKING:
    _place: type[Place] = ClusterPlace
