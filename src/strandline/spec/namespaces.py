"""What namespaces of a cluster have apart: the schema of the catalog, the prefix in the store."""

from __future__ import annotations

import hashlib

_LONGEST = 63
SCHEMA_PREFIX = "strandline_"
"""What the schemas of all catalogs begin with."""


def catalog_schema(namespace: str) -> str:
    """Return the PostgreSQL schema of the namespace's catalog.

    A namespace has no `_` in it, so no two of them get one schema. Long ones are cut and
    told apart by a digest, after a `$`, which no namespace has either.
    """
    plain = SCHEMA_PREFIX + namespace.replace("-", "_")
    if len(plain) <= _LONGEST:
        return plain
    digest = hashlib.sha256(namespace.encode()).hexdigest()[:12]
    return f"{plain[: _LONGEST - 13]}${digest}"


def namespace_of(schema: str) -> str | None:
    """Return the namespace whose catalog the schema is; None when its name does not tell."""
    if not schema.startswith(SCHEMA_PREFIX) or "$" in schema:
        return None
    return schema.removeprefix(SCHEMA_PREFIX).replace("_", "-")


def store_prefix(namespace: str) -> str:
    """Return what the names of the namespace's objects in the store begin with."""
    return namespace
