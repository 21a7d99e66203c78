"""Follow an object of a cluster until it is as asked, and read the report of its job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from pydantic import ValidationError

from strandline.adapters.kube.changes import Changes
from strandline.adapters.kube.job_logs import last_lines
from strandline.adapters.kube.objects import KubeObjects
from strandline.api.job_reports import REPORT_MARK
from strandline.api.running import StopRequested
from strandline.ports import Resource
from strandline.spec.conditions import READY, STALLED, SUSPENDED, get_condition, is_true
from strandline.spec.errors import (
    OUTCOMES,
    FailedRunError,
    InterruptedRunError,
    NotFoundError,
    StrandlineError,
)
from strandline.spec.records import Record

_LOOK_SECONDS = 0.5
_REPORT_LINES = 20
AnyReport = TypeVar("AnyReport", bound=Record)


class Following:
    """Follows objects of one namespace; `say` is told when the API is away."""

    def __init__(self, objects: KubeObjects, say: Callable[[str], None]) -> None:
        self._objects = objects
        self._say = say

    def until_done(
        self,
        applied: Resource,
        tell: Callable[[Resource], None],
        stop_requested: StopRequested | None,
    ) -> Resource:
        """Tell how the object stands until it is as asked; return it then.

        Raises:
            NotFoundError: it was deleted meanwhile.
            InterruptedRunError: `stop_requested`, or somebody suspended it.
            StrandlineError: it failed, with the error that its job had.
        """
        kind, name = applied.kind, applied.name
        shown = f"{kind.lower()}/{name}"
        newest, seen = applied, False
        with Changes(self._objects, [(kind, name)], self._say) as news:
            while True:
                if stop_requested is not None and stop_requested():
                    raise InterruptedRunError(
                        f"{shown} goes on in namespace {self._objects.namespace}: look with "
                        f"`logs -f {shown}` or `wait {shown} --for=condition=Complete`, end it "
                        f"with `delete {shown}`"
                    )
                change = news.next(_LOOK_SECONDS)
                if change is not None and change.resource is not None:
                    if change.resource.uid != applied.uid:
                        continue
                    if change.gone:
                        raise NotFoundError(f"{shown} was deleted while it was followed")
                    newest, seen = change.resource, True
                elif change is not None and not seen:
                    raise NotFoundError(f"{shown} was deleted before it could be followed")
                tell(newest)
                if newest.generation >= applied.generation and self._is_done(newest):
                    return newest

    def _is_done(self, resource: Resource) -> bool:
        """Return whether the object is as asked.

        Raises:
            InterruptedRunError, StrandlineError: as `until_done`.
        """
        status, generation = resource.status, resource.generation
        if is_true(status, READY, generation):
            return True
        if is_true(status, STALLED, generation):
            raise error_of(resource)
        if is_true(status, SUSPENDED, generation):
            raise InterruptedRunError(
                f"{resource.kind.lower()}/{resource.name} is suspended, and keeps its state: go on "
                f"with `{resource.kind.lower()} resume {resource.name}`"
            )
        return False

    def report(self, ended: Resource, cls: type[AnyReport]) -> AnyReport | None:
        """Return the report at the end of the job's log; None when it is not there any more."""
        with suppress(StrandlineError):
            for line in reversed(last_lines(self._objects, ended, _REPORT_LINES)):
                if line.startswith(REPORT_MARK):
                    with suppress(ValidationError):
                        return cls.model_validate_json(line.removeprefix(REPORT_MARK))
        return None


def error_of(resource: Resource) -> StrandlineError:
    """Return the error that made the object fail: the condition's reason is its class."""
    stalled = get_condition(resource.status, STALLED)
    assert stalled is not None
    reason = stalled["reason"]
    classes = {outcome.reason: cls for cls, outcome in OUTCOMES.items()}
    text = f"{resource.kind.lower()}/{resource.name} failed: {reason}: {stalled['message']}"
    return classes.get(reason, FailedRunError)(text)


def said_of(resource: Resource) -> str:
    """Return what the object says of itself."""
    ready = get_condition(resource.status, READY) or {}
    return str(ready.get("message") or "nothing is said about it").rstrip(".")
