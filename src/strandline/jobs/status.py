"""Write the status of an object from inside its job, together with others who write it.

The agent, the job and a person's `apply` touch the same row. A job reads it, changes its
own part and writes it back on the condition that nobody came between; else it does so anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from strandline.ports import Catalog, Resource
from strandline.spec.errors import ConflictError

Change = Callable[[Resource], Mapping[str, Any]]

_ATTEMPTS = 20


def change_status(catalog: Catalog, kind: str, name: str, change: Change) -> Resource:
    """Replace the status by `change(resource)`; asked again when the object changed meanwhile.

    Example:
        `change_status(catalog, "Search", name, lambda r: mark_done(r.status, why))`

    Raises:
        NotFoundError: the object was deleted.
        ConflictError: others changed it all the time.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        resource = catalog.get_resource(kind, name)
        status = change(resource)
        try:
            return catalog.update_status(kind, name, status, resource.resource_version)
        except ConflictError:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def with_fields(status: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the status with these fields; None takes one away."""
    merged = {**status, **fields}
    return {name: value for name, value in merged.items() if value is not None}
