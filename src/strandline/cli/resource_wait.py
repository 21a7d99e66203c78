"""`strandline wait` and `get --watch`: look at objects until something is so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from strandline.cli.jsonpath import find
from strandline.cli.resource_names import Target, shown
from strandline.cli.resource_output import to_document
from strandline.ports import Resource
from strandline.spec.conditions import COMPLETE, FAILED, READY, STALLED, get_condition, is_true
from strandline.spec.errors import FailedRunError, InvalidSpecError, NotFoundError, StrandlineError
from strandline.spec.fields import parse_duration
from strandline.spec.v1alpha1 import KINDS

POLL_SECONDS = 0.5

Sleep = Callable[[float], None]
_JSONPATH = re.compile(r"jsonpath=(?P<quote>['\"]?)(?P<path>\{.*\})(?P=quote)(?:=(?P<value>.*))?")


@dataclass(frozen=True, slots=True)
class Goal:
    """What `--for` asks of an object.

    Attributes:
        path: JSONPath that must have `value` (any value if None); for conditions, None.
        condition: type of the condition that must have status `value`.
        deletion: the object must be gone.
    """

    deletion: bool = False
    condition: str | None = None
    path: str | None = None
    value: str | None = None

    def is_met_by(self, resource: Resource) -> bool:
        """Return whether the object is as asked, judged by what is not out of date."""
        if self.deletion:
            return False
        if self.path is not None:
            found = find(self.path, to_document(resource))
            return bool(found) if self.value is None else self.value in map(_text, found)
        found_condition = get_condition(resource.status, self.condition or "")
        if found_condition is None:
            return False
        observed = found_condition.get("observedGeneration", resource.generation)
        same = str(found_condition["status"]).casefold() == (self.value or "true").casefold()
        return same and observed == resource.generation


def read_goal(text: str) -> Goal:
    """Read the value of `--for`.

    Raises:
        InvalidSpecError: it cannot be read.
    """
    if text.casefold() == "delete":
        return Goal(deletion=True)
    kind, _, rest = text.partition("=")
    if kind == "condition" and rest:
        name, _, value = rest.partition("=")
        return Goal(condition=_condition_name(name), value=value or "true")
    if match := _JSONPATH.fullmatch(text):
        find(match["path"], {})
        return Goal(path=match["path"], value=match["value"])
    raise InvalidSpecError(
        f"--for={text} cannot be read: write condition=Complete, delete or "
        "jsonpath='{.status.version}'=2"
    )


def _condition_name(name: str) -> str:
    known = {each.casefold(): each for each in (READY, COMPLETE, FAILED)}
    return known.get(name.casefold(), name)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_timeout(text: str) -> timedelta | None:
    """Read `--timeout`: `30s`, `10m`; `0` looks once; a negative one means a week."""
    if text.startswith("-"):
        return timedelta(weeks=1)
    if text in ("0", "0s"):
        return timedelta(0)
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidSpecError(str(error)) from None


def wait_for(states: Iterable[Resource | None], target: Target, goal: Goal) -> None:
    """Return when the object is as asked.

    Args:
        states: the object now and whenever it may have changed, None while it is not there;
            they end when the time is over.

    Raises:
        NotFoundError: there is no such object.
        FailedRunError: it has failed for good or is stalled, so what is awaited cannot come.
        StrandlineError: the time is over.
    """
    why = ""
    for resource in states:
        if resource is None:
            if goal.deletion:
                return
            raise NotFoundError(f'{KINDS[target.kind].names.plural} "{target.name}" not found')
        if goal.is_met_by(resource):
            return
        _refuse_hopeless(resource, goal)
        reason = get_condition(resource.status, READY)
        why = f" ({reason['reason']}: {reason['message']})" if reason else ""
    raise StrandlineError(f"timed out waiting for the condition on {target}{why}")


def _refuse_hopeless(resource: Resource, goal: Goal) -> None:
    hopes = goal.condition in (READY, COMPLETE) and (goal.value or "").casefold() == "true"
    if hopes and is_true(resource.status, STALLED, resource.generation):
        stalled = get_condition(resource.status, STALLED)
        assert stalled is not None
        failed = is_true(resource.status, FAILED, resource.generation)
        name, word = shown(resource.kind, resource.name), "failed" if failed else "is stalled"
        raise FailedRunError(f"{name} {word}: {stalled['reason']}: {stalled['message']}")


def changed(look: Callable[[], list[Resource]], sleep: Sleep) -> Iterator[list[Resource]]:
    """Yield all objects, then whichever are new or changed, looking again and again."""
    seen: dict[str, int] = {}
    while True:
        fresh = [each for each in look() if seen.get(each.uid) != each.resource_version]
        seen |= {each.uid: each.resource_version for each in fresh}
        if fresh:
            yield fresh
        sleep(POLL_SECONDS)
