"""What the operator sees of the API: one set of informers over the namespaces it looks after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.informer import Informer, InformerSettings
from strandline.adapters.kube.job_states import keep_job, keep_pod
from strandline.adapters.kube.jobs import BY_UID
from strandline.adapters.kube.kinds import (
    COMPUTE_POOLS,
    JOB_SELECTOR,
    NAMESPACED,
    TYPES,
    ObjectRef,
    keep_object,
    owner_of,
    ref_of,
    worker_uid,
)
from strandline.adapters.kube.metrics import OperatorMetrics
from strandline.adapters.kube.resources import JOBS, NODES, PODS, Document, ObjectKey, ResourceType
from strandline.ports import Clock

BY_OBJECT = "object"
BY_DATASET = "dataset"
BY_SEARCH = "search"

Keep = Callable[[Document], Document]
Enqueue = Callable[[ObjectRef], object]
Index = Callable[[Document], Iterable[str]]

_NAMES_DATASET = ("Search", "Training")


class Cache:
    """The objects of one type in all namespaces that are looked after."""

    def __init__(self, resource: ResourceType, informers: Mapping[str | None, Informer]) -> None:
        self.resource = resource
        self._informers = informers

    def of(self, namespace: str) -> Informer:
        """Return the informer that holds this namespace's objects."""
        return self._informers[namespace if namespace in self._informers else None]

    def covers(self, namespace: str) -> bool:
        """Return whether this namespace is looked after."""
        return namespace in self._informers or None in self._informers

    def get(self, key: ObjectKey) -> Document | None:
        """Return what is held of an object, None when there is none."""
        return self.of(key.namespace).get(key) if self.covers(key.namespace) else None

    def keys(self, index: str, value: str, namespace: str) -> list[ObjectKey]:
        """Return the keys of the namespace's objects to which `index` gives `value`."""
        found = self.of(namespace).by_index(index, value)
        return [key for key in found if key.namespace == namespace]

    def find(self, index: str, value: str, namespace: str) -> Iterator[Document]:
        """Iterate over these objects; each is read when it is asked for."""
        for key in self.keys(index, value, namespace):
            if (found := self.get(key)) is not None:
                yield found

    def informers(self) -> Iterator[Informer]:
        """Iterate over the informers."""
        yield from self._informers.values()

    def __iter__(self) -> Iterator[ObjectKey]:
        """Iterate over the keys of all objects."""
        for informer in self.informers():
            yield from informer.keys()


class Caches:
    """All that the operator looks at.

    Attributes:
        objects: the objects of our kinds, by kind.
        runs: Jobs, and whatever else runs jobs (RayJobs), by plural.
        pods: the pods of jobs.
        pools, nodes: of the cluster; None without rights on it.
    """

    def __init__(
        self,
        api: KubeApi,
        clock: Clock,
        namespaces: Sequence[str],
        *,
        cluster_reads: bool = True,
        run_types: Mapping[ResourceType, Keep] | None = None,
        settings: InformerSettings | None = None,
        metrics: OperatorMetrics | None = None,
    ) -> None:
        """Look after these namespaces, all if empty; `run_types` run jobs besides Jobs."""

        def watch(
            resource: ResourceType,
            keep: Keep,
            indexes: Mapping[str, Index] | None = None,
            selector: str | None = None,
        ) -> Cache:
            places: Sequence[str | None] = [None]
            if resource.namespaced and namespaces:
                places = list(namespaces)
            made = {
                place: Informer(
                    api,
                    resource,
                    clock,
                    namespace=place,
                    selector=selector,
                    keep=keep,
                    indexes=indexes,
                    settings=settings,
                    metrics=metrics,
                )
                for place in places
            }
            return Cache(resource, made)

        self.objects = {
            kind: watch(TYPES[kind], keep_object, _object_indexes(kind)) for kind in NAMESPACED
        }
        working: Mapping[str, Index] = {BY_UID: _uid_index, BY_OBJECT: _object_index}
        kept: Mapping[ResourceType, Keep] = {JOBS: keep_job, **(run_types or {})}
        self.runs = {
            resource.plural: watch(resource, keep, working, JOB_SELECTOR)
            for resource, keep in kept.items()
        }
        self.pods = watch(PODS, keep_pod, working, JOB_SELECTOR)
        self.pools = watch(COMPUTE_POOLS, keep_object) if cluster_reads else None
        self.nodes = watch(NODES, keep_node) if cluster_reads else None

    def informers(self) -> list[Informer]:
        """Return all informers."""
        besides = [each for each in (self.pods, self.pools, self.nodes) if each is not None]
        caches = [*self.objects.values(), *self.runs.values(), *besides]
        return [informer for cache in caches for informer in cache.informers()]

    def get(self, ref: ObjectRef) -> Document | None:
        """Return what is held of an object of ours, None when there is none."""
        return self.objects[ref.kind].get(ref.key)

    def namespaces(self) -> set[str]:
        """Return the namespaces that have objects of ours."""
        return {key.namespace for cache in self.objects.values() for key in cache}

    def users_of(self, dataset: ObjectRef) -> Iterator[Document]:
        """Iterate over the Searches and Trainings that name a Dataset."""
        for kind in _NAMES_DATASET:
            yield from self.objects[kind].find(BY_DATASET, dataset.name, dataset.namespace)

    def follow(self, enqueue: Enqueue) -> None:
        """Tell `enqueue` every object that a change of anything concerns."""
        for cache in self.objects.values():
            for informer in cache.informers():
                informer.subscribe(enqueue, self._concerned)
        for cache in (*self.runs.values(), self.pods):
            for informer in cache.informers():
                informer.subscribe(enqueue, _owners)

    def _concerned(self, document: Document) -> list[ObjectRef]:
        """Return the object itself, what waits for it, and the dataset that it holds."""
        ref = ref_of(document)
        found = [ref]
        if ref.kind == "Dataset":
            for kind in _NAMES_DATASET:
                found += self._refs(kind, BY_DATASET, ref)
        if ref.kind in _NAMES_DATASET:
            found += [ObjectRef("Dataset", ref.namespace, name) for name in _dataset(document)]
        if ref.kind == "Search":
            found += self._refs("Training", BY_SEARCH, ref)
        return found

    def _refs(self, kind: str, index: str, named: ObjectRef) -> Iterator[ObjectRef]:
        """Iterate over the objects of a kind that name another one of their namespace."""
        for key in self.objects[kind].keys(index, named.name, named.namespace):
            yield ObjectRef(kind, key.namespace, key.name)


def keep_node(node: Document) -> Document:
    """Keep of a node what pools are measured by."""
    metadata, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    ready = [each for each in status.get("conditions") or () if each["type"] == "Ready"]
    return {
        "metadata": {
            name: metadata[name]
            for name in ("name", "uid", "resourceVersion", "labels")
            if name in metadata
        },
        "spec": {name: spec[name] for name in ("taints", "unschedulable") if name in spec},
        "status": {
            "allocatable": status.get("allocatable") or {},
            "conditions": [{"type": "Ready", "status": each["status"]} for each in ready],
        },
    }


def _object_indexes(kind: str) -> Mapping[str, Index]:
    indexes: dict[str, Index] = {}
    if kind in _NAMES_DATASET:
        indexes[BY_DATASET] = _dataset
    if kind == "Training":
        indexes[BY_SEARCH] = _searched_cell
    return indexes


def _dataset(document: Mapping[str, Any]) -> list[str]:
    name = ((document.get("spec") or {}).get("dataset") or {}).get("name")
    return [str(name)] if name else []


def _searched_cell(document: Mapping[str, Any]) -> list[str]:
    name = ((document.get("spec") or {}).get("cell") or {}).get("search")
    return [str(name)] if name else []


def _uid_index(document: Document) -> list[str]:
    return [worker_uid(document)]


def _object_index(document: Document) -> list[str]:
    owner = owner_of(document)
    return [] if owner is None else [object_index(owner)]


def object_index(ref: ObjectRef) -> str:
    """Return what `BY_OBJECT` calls an object."""
    return f"{ref.kind}/{ref.name}"


def _owners(document: Document) -> list[ObjectRef]:
    owner = owner_of(document)
    return [] if owner is None else [owner]
