"""Objects, wherever they are: what the commands on objects need of a laptop or a cluster.

Printing, selectors, goals and forms are the commands' own and the same in both places.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from strandline.cli.where import where

if TYPE_CHECKING:
    from strandline.cli.resource_names import Target
    from strandline.ports import Catalog, Clock, Resource
    from strandline.spec.documents import Document
    from strandline.spec.records import Event


class Place(Protocol):
    """Objects, and what works on them."""

    @property
    def clock(self) -> Clock:
        """The time there."""

    @property
    def catalog(self) -> Catalog | None:
        """Where trials and versions are; None where they cannot be read from here."""

    def get(self, kind: str, name: str) -> Resource:
        """Return the object as it is stored. Raises NotFoundError."""

    def list_objects(self, kind: str, after: str | None = None) -> Iterator[Resource]:
        """Iterate over the objects of a kind by name, those after name `after`."""

    def current(self, resource: Resource) -> Resource:
        """Return the object with the status it has now."""

    def accept(self, documents: Sequence[Document], here: bool = False) -> list[Document]:
        """Return the documents as they can be applied there, with a note where that matters.

        Args:
            here: they must be of the namespace that the command acts in.

        Raises:
            InvalidSpecError: one of them cannot be meant for this place.
        """

    def apply(self, document: Document, dry_run: bool) -> tuple[Resource, str]:
        """Create or change an object; say `created`, `configured` or `unchanged`."""

    def pick_up(self, resources: Iterable[Resource]) -> None:
        """Have what these objects ask for be done."""

    def delete(self, resource: Resource) -> None:
        """Delete the object."""

    def finish_deletion(self, resources: Sequence[Resource], wait: bool) -> None:
        """Stop what still works for deleted objects.

        Raises:
            UnavailableError: it was waited for and did not stop in time.
        """

    def states(self, target: Target, deadline: float) -> Iterator[Resource | None]:
        """Yield the object now, then whenever it may have changed, until the deadline (on
        `clock.monotonic()`); None while it is not there."""

    def changes(self, targets: Sequence[Target]) -> Iterator[list[Resource]]:
        """Yield all objects meant, then whichever are new or changed, for ever."""

    def log(
        self, resource: Resource, lines: int, previous: bool, follow: bool
    ) -> Iterator[bytes] | None:
        """Return what its job said; None when there is no log."""

    def events(self, resource: Resource, limit: int) -> Sequence[Event]:
        """Return the newest events about an object, oldest first."""


def open_place() -> Place:
    """Open the place that the command line and the environment name."""
    chosen = where()
    if not chosen.cluster:
        from strandline import compose
        from strandline.cli.local_place import LocalPlace

        return LocalPlace(compose.local())
    from strandline import compose
    from strandline.cli.cluster_place import ClusterPlace

    return ClusterPlace(compose.cluster(chosen.kubeconfig, chosen.context, chosen.namespace))


def sleep(seconds: float) -> None:
    """Wait; every pause of the resource commands goes through here."""
    time.sleep(seconds)
