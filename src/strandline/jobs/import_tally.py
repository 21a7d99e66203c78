"""What an import met: images, refusals and warnings, in memory that does not grow for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from strandline.data.versions import Imported
from strandline.spec.records import ImportReport, Refusal

_MOST_WARNINGS = 200
_MOST_REFUSALS = 100_000


@dataclass(slots=True)
class ImportTally:
    """What an import has met so far.

    Attributes:
        skipped: files of the system, which are of no interest.
        unlisted: what was refused beyond `refused`.
    """

    imported: list[Imported] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: int = 0
    unlisted: int = 0

    @property
    def done(self) -> int:
        """Return how many images, refusals and skipped files there were."""
        return len(self.imported) + len(self.refused) + self.unlisted + self.skipped

    def refuse(self, refusal: Refusal) -> None:
        """List what was refused: a table of millions of bad rows must not fill the memory."""
        if len(self.refused) < _MOST_REFUSALS:
            self.refused.append(refusal)
        else:
            self.unlisted += 1

    def warn(self, message: str) -> None:
        """List a warning, likewise."""
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(message)

    def all_warnings(self) -> tuple[str, ...]:
        """Return the warnings, and how much was refused beyond what is listed."""
        more = f"{self.unlisted:,} more were refused than are listed"
        return (*self.warnings, more) if self.unlisted else tuple(self.warnings)

    def why_empty(self, source: str) -> str:
        """Say in a line why not one image could be imported."""
        if not self.refused:
            return f"no images were found in {source}"
        first = self.refused[0]
        others = len(self.refused) + self.unlisted - 1
        more = f" (and {others:,} more)" if others else ""
        return f"no image could be imported: {first.source}: {first.reason}{more}"

    def report_without_version(self, name: str) -> ImportReport:
        """Return the report of an import that made nothing."""
        return ImportReport(
            dataset=name,
            version=0,
            digest=None,
            items=0,
            labels=(),
            refused=tuple(self.refused),
            warnings=self.all_warnings(),
            skipped=self.skipped,
        )


def count_refusals(refused: Sequence[Refusal]) -> list[dict[str, Any]]:
    """Count refusals by code, the most frequent first, with the first of each as example.

    The reasons are codes, of which there are few; a status holds 32 at most.
    """
    examples: dict[str, str] = {}
    for each in refused:
        examples.setdefault(each.code, each.source)
    counts = Counter(each.code for each in refused)
    return [
        {"reason": code, "count": count, "example": examples[code][:1024]}
        for code, count in counts.most_common(32)
    ]
