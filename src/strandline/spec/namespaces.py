"""What namespaces of a cluster have apart: the schema of the catalog, the prefix in the store."""

from __future__ import annotations

import hashlib

_LONGEST = 63
_SCHEMA = "strandline_"


def catalog_schema(namespace: str) -> str:
    """Return the PostgreSQL schema of the namespace's catalog.

    A namespace has no `_` in it, so no two of them get one schema. Long ones are cut and
    told apart by a digest, after a `$`, which no namespace has either.
    """
    plain = _SCHEMA + namespace.replace("-", "_")
    if len(plain) <= _LONGEST:
        return plain
    digest = hashlib.sha256(namespace.encode()).hexdigest()[:12]
    return f"{plain[: _LONGEST - 13]}${digest}"


def store_prefix(namespace: str) -> str:
    """Return what the names of the namespace's objects in the store begin with."""
    return namespace
