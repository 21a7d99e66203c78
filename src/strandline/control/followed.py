"""The status of objects that no job works on: it follows from what is there already.

Asked twice it says the same, so it may be worked out anew whenever somebody looks. Kinds
whose workings are still to come say so here: an object that is stored and then silently
does nothing is worse than one that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strandline.ports import Resource
from strandline.spec.actions import Observed
from strandline.spec.conditions import Why, mark_done, mark_unserved, mark_working
from strandline.spec.records import ModelVersion

NOT_YET_SERVED = "NotYetServed"
"""Reason of the conditions of a kind that this version stores and does not work on."""

LOCAL_MACHINE = "LocalMachine"
"""Reason of the conditions of a ComputePool where there are no nodes to choose from."""

_PLANNED = {
    "LabelingJob": "Planned is a service that asks several annotators, leases them questions "
    "and stops at agreement. Until then label elsewhere and import the labels",
    "Endpoint": "Planned is a server that splits traffic among model versions and scales to "
    "zero. Until then answer with `strandline predict` or from an exported bundle",
    "BatchPrediction": "Planned is a job that answers to many images on ComputePools and "
    "writes tables. Until then use `strandline predict`",
}


def followed_status(resource: Resource, observed: Observed) -> Mapping[str, Any] | None:
    """Return the status of an object that has no job; None for kinds that have one."""
    if resource.kind == "Model":
        return _model_status(resource, observed)
    if resource.kind == "ComputePool":
        return _local_pool_status(resource)
    if resource.kind in _PLANNED:
        return _unserved_status(resource)
    return None


def _unserved_status(resource: Resource) -> Mapping[str, Any]:
    """Tell that nothing will happen: stalled, as only a newer Strandline gets further."""
    message = (
        f"This version stores objects of kind {resource.kind} and does not work on them. "
        f"{_PLANNED[resource.kind]}; the object is taken up by a version that can."
    )
    why = Why(NOT_YET_SERVED, message, resource.generation, resource.created_at)
    return mark_unserved(resource.status, why)


def _local_pool_status(resource: Resource) -> Mapping[str, Any]:
    message = (
        "There are no nodes to choose from: this machine runs everything itself, whatever the "
        "pool asks for. On a cluster the same pool selects nodes."
    )
    why = Why(LOCAL_MACHINE, message, resource.generation, resource.created_at)
    return mark_done(resource.status, why)


def _model_status(resource: Resource, observed: Observed) -> Mapping[str, Any]:
    """Return the status of a Model, which its versions and its spec decide alone."""
    wanted = resource.spec.get("defaultVersion")
    versions = observed.model_versions
    chosen = _chosen(versions, wanted)
    if chosen is None:
        missing = "It has no version yet." if wanted is None else f"It has no version {wanted} yet."
        # Times of what it follows from: asked twice, it says the same.
        why = Why("WaitingForVersion", missing, resource.generation, resource.created_at)
        return {**mark_working(resource.status, why), "versions": len(versions)}
    message = f"Version {chosen.version} predicts."
    why = Why("VersionReady", message, resource.generation, chosen.created_at)
    return {
        **mark_done(resource.status, why),
        "versions": len(versions),
        "version": chosen.version,
        "task": chosen.task.value,
        "labels": len(chosen.labels),
        "dataset": chosen.dataset,
        "headline": _headline(chosen),
        "bundle": chosen.bundle,
    }


def _chosen(versions: Any, wanted: int | None) -> ModelVersion | None:
    for version in reversed(versions):
        if wanted in (None, version.version):
            found: ModelVersion = version
            return found
    return None


def _headline(version: ModelVersion) -> str:
    for name in ("precision_at_1", "auc_pr", *sorted(version.metrics)):
        if name in version.metrics:
            return f"{name}={version.metrics[name]:.4f}"
    return ""
