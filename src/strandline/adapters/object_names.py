"""Which digests and names may become keys and paths, checked in one place."""

from __future__ import annotations

import re

from strandline.spec.errors import InvalidSpecError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}\Z")
_LONGEST_NAME = 900


def object_key(digest: str) -> str:
    """Return the key of an object: `objects/ab/cdef…`.

    Raises:
        InvalidSpecError: it is no digest.
    """
    if not _DIGEST.match(digest):
        raise InvalidSpecError(f"{digest[:80]!r} is not a digest (sha256: and 64 hex digits)")
    digits = digest.removeprefix("sha256:")
    return f"objects/{digits[:2]}/{digits[2:]}"


def digest_of_key(key: str) -> str | None:
    """Return the digest that `object_key` made `key` from, None for any other key."""
    digest = "sha256:" + key.removeprefix("objects/").replace("/", "", 1)
    return digest if _DIGEST.match(digest) and object_key(digest) == key else None


def named_key(name: str) -> str:
    """Return the key of a named object: `named/…`.

    Raises:
        InvalidSpecError: a segment is empty, starts with a dot or holds other characters
            than letters, digits, `.`, `_` and `-`.
    """
    segments = name.split("/")
    if len(name) > _LONGEST_NAME or not all(_SEGMENT.match(each) for each in segments):
        raise InvalidSpecError(
            f"{name[:80]!r} cannot name an object: use letters, digits, '.', '_' and '-', "
            "separated by '/', no segment starting with a dot"
        )
    return f"named/{name}"
