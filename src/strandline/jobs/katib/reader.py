"""Reads an Experiment's document field by field, noting what is wrong and where.

All problems are collected, because mending a file one error at a time is what people hate
about YAML; a field that is absent is no problem by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from strandline.jobs.katib.fates import Path, Report

_ABSENT = object()
_EMPTY = "it is empty: nothing to carry over"


class Reader:
    """The fields of one document, the report on them, and the problems met.

    Attributes:
        problems: (path, what is wrong and how to mend it).
    """

    def __init__(self, document: Any) -> None:
        self._document = document
        self.report = Report(document)
        self.problems: list[tuple[Path, str]] = []

    def refuse(self, path: Path, problem: str) -> None:
        """Note a problem."""
        self.problems.append((path, problem))

    def has(self, path: Path) -> bool:
        """Return whether the field is there and not null."""
        return self._find(path) is not _ABSENT

    def keys(self, path: Path) -> Sequence[str]:
        """Return the names of an object's fields, none when it is absent."""
        found = self._find(path)
        if found is _ABSENT:
            return ()
        if not isinstance(found, Mapping):
            self.refuse(path, "it must be an object with fields")
            return ()
        if not found:
            self.report.no_equal(path, _EMPTY)
        return [str(key) for key in found]

    def entries(self, path: Path) -> Sequence[Path]:
        """Return the paths of a list's entries, none when it is absent."""
        found = self._find(path)
        if found is _ABSENT:
            return ()
        if not isinstance(found, list):
            self.refuse(path, "it must be a list")
            return ()
        if not found:
            self.report.no_equal(path, _EMPTY)
        return [(*path, place) for place in range(len(found))]

    def text(self, path: Path) -> str:
        """Return a scalar as text, empty when it is absent."""
        found = self._find(path)
        if found is _ABSENT:
            return ""
        if isinstance(found, Mapping | list):
            self.refuse(path, "it must be one value, not an object or list")
            return ""
        if isinstance(found, bool):
            return "true" if found else "false"
        return str(found)

    def number(self, path: Path) -> float | None:
        """Return a finite number, None when it is absent or none."""
        text = self.text(path)
        if not text:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or abs(number) > Decimal("1e300"):
            self.refuse(path, f"it is {text!r}: write a finite number")
            return None
        return float(number)

    def count(self, path: Path, low: int) -> int | None:
        """Return a whole number of at least `low`, None when it is absent or none."""
        number = self.number(path)
        if number is None:
            return None
        if number != int(number) or number < low:
            self.refuse(path, f"it is {self.text(path)}: write a whole number from {low}")
            return None
        return int(number)

    def _find(self, path: Path) -> Any:
        value = self._document
        for step in path:
            if isinstance(step, int):
                value = value[step]
            elif isinstance(value, Mapping):
                value = value.get(step, _ABSENT)
            else:
                return _ABSENT
            if value is None or value is _ABSENT:
                return _ABSENT
        return value
