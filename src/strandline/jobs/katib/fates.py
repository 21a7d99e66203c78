"""The conversion report: what became of every field of an Experiment.

A field is named by its path, as `spec.parameters[0].feasibleSpace.min`; fields are the
leaves of the document, an empty object or list being one too. What no rule of ours spoke
of is reported as unknown, so nothing is ever lost in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Path = tuple[str | int, ...]


class Outcome(StrEnum):
    """What became of a field."""

    CONVERTED = "converted"
    APPROXIMATED = "approximated"
    NO_EQUAL = "no equal"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class Fate:
    """One line of the report.

    Attributes:
        path: the field of the Experiment; of the Search where the outcome is `added`.
        value: what it held, as text.
        target: the field of the Search it went to; empty when to none.
        note: how it was approximated; or why there is no equal, and what to do instead.
    """

    path: str
    value: str
    outcome: Outcome
    target: str = ""
    note: str = ""


def shown(path: Path) -> str:
    """Return a path as people write it."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step and all(char.isalnum() or char in "_-$" for char in step):
            text += f".{step}"
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text.removeprefix(".")


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) of every leaf of a document, in its order."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from leaves(each, (*path, str(key)))
    elif isinstance(value, list) and value:
        for place, each in enumerate(value):
            yield from leaves(each, (*path, place))
    else:
        yield path, value


class Report:
    """Collects the fate of every leaf; each leaf is told of once, by the nearest word on it."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._said: dict[Path, Fate] = {}
        self._added: list[Fate] = []

    def say(self, path: Path, outcome: Outcome, target: str = "", note: str = "") -> None:
        """Tell the fate of the field at `path` and of all below it that nothing else tells."""
        self._said[path] = Fate("", "", outcome, target, note)

    def converted(self, path: Path, target: str, note: str = "") -> None:
        """Say that the field is in the Search as it was."""
        self.say(path, Outcome.CONVERTED, target, note)

    def approximated(self, path: Path, target: str, note: str) -> None:
        """Say that the Search holds what is nearest."""
        self.say(path, Outcome.APPROXIMATED, target, note)

    def no_equal(self, path: Path, note: str) -> None:
        """Say that the Search has nothing like it."""
        self.say(path, Outcome.NO_EQUAL, "", note)

    def added(self, target: str, value: object, note: str) -> None:
        """Say what the Search states though the Experiment did not."""
        self._added.append(Fate(target, _text(value), Outcome.ADDED, target, note))

    def fates(self) -> Sequence[Fate]:
        """Return the fate of every leaf in document order, then what was added."""
        return [*(self._fate(path, value) for path, value in leaves(self._document)), *self._added]

    def _fate(self, path: Path, value: Any) -> Fate:
        for length in range(len(path), -1, -1):
            said = self._said.get(path[:length])
            if said is not None:
                return Fate(shown(path), _text(value), said.outcome, said.target, said.note)
        if value is None:
            note = "it is null, as if it were not there"
            return Fate(shown(path), "null", Outcome.NO_EQUAL, "", note)
        note = "Strandline knows no such field of an Experiment: look whether it is spelled right"
        return Fate(shown(path), _text(value), Outcome.NO_EQUAL, "", note)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
