"""Find a model by what a person calls it: NAME, NAME@VERSION, or a bundle file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strandline.bundle.format import Bundle, open_bundle
from strandline.ports import Catalog, ObjectStore
from strandline.spec.errors import InvalidSpecError, NotFoundError
from strandline.spec.records import ModelVersion


@dataclass(frozen=True, slots=True, eq=False)
class FoundModel:
    """A model that was found and whose bundle was checked.

    Attributes:
        name: as the catalog or the bundle calls it.
        version: None for a file that the catalog does not know.
        data: the bundle's bytes.
    """

    name: str
    bundle: Bundle
    data: bytes
    version: ModelVersion | None = None


def is_bundle_file(reference: str) -> bool:
    """Return whether `reference` means a file rather than a model of the catalog."""
    path = Path(reference)
    return path.is_file() and ("/" in reference or "." in reference)


def open_bundle_file(reference: str) -> FoundModel:
    """Open the bundle file at `reference`.

    Raises:
        CorruptArtifactError: it is damaged, or no bundle.
    """
    data = Path(reference).read_bytes()
    bundle = open_bundle(data)
    return FoundModel(bundle.manifest.name, bundle, data)


def find_model(reference: str, catalog: Catalog, store: ObjectStore) -> FoundModel:
    """Return the model that `reference` names.

    Raises:
        InvalidSpecError: the version is no number.
        NotFoundError: there is no such model or version.
        CorruptArtifactError: its bundle is damaged.
    """
    if is_bundle_file(reference):
        return open_bundle_file(reference)
    name, _, number = reference.partition("@")
    if number and not number.isdigit():
        raise InvalidSpecError(f"{reference!r}: write NAME, NAME@3 or the path of a bundle file")
    version = catalog.get_model_version(name, int(number) if number else _default(name, catalog))
    data = store.get(version.bundle)
    return FoundModel(name, open_bundle(data), data, version)


def _default(name: str, catalog: Catalog) -> int | None:
    """Return the version that the Model's spec pins, None for the newest."""
    try:
        found = catalog.get_resource("Model", name).spec.get("defaultVersion")
    except NotFoundError:
        return None
    return int(found) if found is not None else None
