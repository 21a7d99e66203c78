"""Show on the API what the catalog holds: statuses, at a bounded rate, their turns as Events."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

from pydantic import ValidationError

from strandline.adapters.kube.api import KubeApi
from strandline.adapters.kube.events import EventRecorder
from strandline.adapters.kube.kinds import TYPES, ObjectRef
from strandline.adapters.kube.resources import Document
from strandline.ports import Clock, Resource
from strandline.spec.conditions import READY, STALLED, get_condition, is_true
from strandline.spec.v1alpha1 import KINDS


class Projection:
    """Writes status documents; each object's at most once in `seconds`."""

    def __init__(self, api: KubeApi, events: EventRecorder, clock: Clock, seconds: float) -> None:
        self._api = api
        self._events = events
        self._clock = clock
        self._seconds = seconds
        self._lock = Lock()
        self._written_at: dict[ObjectRef, float] = {}

    def show(self, ref: ObjectRef, document: Document, row: Resource) -> float | None:
        """Make the object's status that of its row; return when to look again if it is too soon.

        Raises:
            ConflictError, NotFoundError: the object is another one by now, or gone.
        """
        wanted = normal_status(ref.kind, row.status)
        shown = normal_status(ref.kind, document.get("status") or {})
        if wanted == shown:
            return None
        now = self._clock.monotonic()
        with self._lock:
            wait = self._written_at.get(ref, now - self._seconds) + self._seconds - now
            if wait > 0:
                return wait
            self._written_at[ref] = now
        self._tell(document, shown, wanted)
        metadata = {"name": ref.name, "uid": row.uid}
        if ref.namespace:
            metadata["namespace"] = ref.namespace
        self._api.apply_status(TYPES[ref.kind], {"metadata": metadata, "status": wanted})
        return None

    def forget(self, ref: ObjectRef) -> None:
        """Remember nothing of an object that is gone."""
        with self._lock:
            self._written_at.pop(ref, None)

    def _tell(
        self, document: Document, before: Mapping[str, Any], after: Mapping[str, Any]
    ) -> None:
        """Record the turn that the object took, once, however often it is written."""
        ready, was = get_condition(after, READY), get_condition(before, READY)
        if ready is None or (was is not None and was["reason"] == ready["reason"]):
            return
        stalled = is_true(after, STALLED)
        self._events.record(
            document,
            str(ready["reason"]),
            str(ready["message"]),
            type="Warning" if stalled else "Normal",
            occasion=f"{ready.get('observedGeneration')} {ready['lastTransitionTime']}",
        )


def normal_status(kind: str, status: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the status as the API gives it back: with the defaults of its schema.

    One that this version does not know (from a newer job) is left as it is.
    """
    try:
        model = KINDS[kind].status_model.model_validate(status)
    except ValidationError:
        return dict(status)
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
