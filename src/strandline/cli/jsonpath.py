"""The part of JSONPath that kubectl's users type: fields, indexes and one-field filters.

`.spec.dataset.name`, `{.status.conditions[?(@.type=="Ready")].status}`, `.items[0]`,
`.metadata.labels['app']` and `[*]`; Kubernetes documents the dialect under "JSONPath
Support". Printer columns, `--sort-by`, `wait --for=jsonpath` and `-o jsonpath` share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strandline.spec.errors import InvalidSpecError

_STEP = re.compile(
    r"""\.(?P<field>[A-Za-z0-9_-]+)
      | \[(?P<index>-?[0-9]+)\]
      | \[(?P<all>\*)\]
      | \[(?P<quote>['"])(?P<key>[^'"]*)(?P=quote)\]
      | \[\?\(@\.(?P<name>[A-Za-z0-9_.-]+)\s*==\s*(?P<mark>['"]?)(?P<value>[^'"\]]*)(?P=mark)\)\]
    """,
    re.VERBOSE,
)


def find(path: str, document: Any) -> list[Any]:
    """Return the values at `path`, none when it leads nowhere.

    Raises:
        InvalidSpecError: the path cannot be read.
    """
    values = [document]
    for step in _steps(path):
        values = [found for value in values for found in _follow(value, step)]
    return values


def find_one(path: str, document: Any) -> Any:
    """Return the first value at `path`, None when there is none."""
    found = find(path, document)
    return found[0] if found else None


def _steps(path: str) -> Iterator[re.Match[str]]:
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            raise InvalidSpecError(
                f"the path {path!r} cannot be read from {text[place:]!r} on: "
                "write it like {.status.best.value}"
            )
        place = match.end()
        yield match


def _follow(value: Any, step: re.Match[str]) -> Iterator[Any]:
    name = step["field"] if step["field"] is not None else step["key"]
    if name is not None:
        if isinstance(value, Mapping) and name in value:
            yield value[name]
    elif not isinstance(value, Sequence) or isinstance(value, str):
        return
    elif step["index"] is not None:
        place = int(step["index"])
        if -len(value) <= place < len(value):
            yield value[place]
    elif step["all"]:
        yield from value
    else:
        yield from (each for each in value if _text(find_one(step["name"], each)) == step["value"])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
