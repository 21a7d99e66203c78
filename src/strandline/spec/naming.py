"""What each kind is called on a command line, and the columns a list of it shows.

`kubectl get` reads these from the CRD, `strandline get` from here; the CRD is generated
from here, so a list looks the same in both places.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CATEGORY = "strandline"
"""`kubectl get strandline` lists the objects of all kinds."""

JOB_KINDS = ("Dataset", "Search", "Training")
"""Kinds whose objects have a job, in the order in which one waits for another."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a list.

    Attributes:
        name: heading.
        type: `string`, `integer`, `number`, `boolean` or `date` (OpenAPI, as printer columns take).
        path: where the value stands: dots and `[?(@.type=="X")]` filters (JSONPath).
        wide: shown by `-o wide` only.
        description: what the value means.
    """

    name: str
    type: str
    path: str
    description: str
    wide: bool = False


class Scope(StrEnum):
    """Whether the objects of a kind belong to a namespace."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


@dataclass(frozen=True, slots=True)
class KindNames:
    """The words for one kind, its columns, and where its objects belong."""

    plural: str
    singular: str
    short: tuple[str, ...]
    columns: tuple[Column, ...]
    scope: Scope = Scope.NAMESPACED

    def answers_to(self, word: str) -> bool:
        """Return whether a person may mean this kind by `word`, in any case.

        `searches.strandline.dev` and `searches.v1alpha1.strandline.dev` count too, as
        they do for kubectl.
        """
        resource, _, group = word.casefold().partition(".")
        if group not in ("", "strandline.dev", "v1alpha1.strandline.dev"):
            return False
        return resource in (self.plural, self.singular, *self.short)


AGE = Column("Age", "date", ".metadata.creationTimestamp", "Time since it was created.")


def ready_columns() -> tuple[Column, Column]:
    """Return the columns that every kind shows: is it ready, and why or why not."""
    ready = '.status.conditions[?(@.type=="Ready")]'
    return (
        Column("Ready", "string", f"{ready}.status", "Whether what the spec asks for is done."),
        Column("Reason", "string", f"{ready}.reason", "Why it is ready, or what it waits for."),
    )
