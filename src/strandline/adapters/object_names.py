"""Which digests, names, ranges and lives of links a store accepts: the same in every store."""

from __future__ import annotations

import re
from datetime import timedelta

from strandline.spec.errors import InvalidSpecError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}\Z")
_LONGEST_NAME = 900
# No segment of a name may hold this character, so the file of `a` is never in the way of
# the folder of `a/b`; some S3 servers keep keys as files too.
_LEAF = "="


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
    """Return the key of a named object: `named/…=`.

    Raises:
        InvalidSpecError: a segment is empty, starts with a dot or holds other characters
            than letters, digits, `.`, `_` and `-`, or the name is too long.
    """
    segments = name.split("/")
    if len(name) > _LONGEST_NAME or not all(_SEGMENT.match(each) for each in segments):
        raise InvalidSpecError(
            f"{name[:80]!r} cannot name an object: use letters, digits, '.', '_' and '-', "
            "separated by '/', no segment starting with a dot"
        )
    return f"named/{name}{_LEAF}"


def name_of_key(key: str) -> str | None:
    """Return the name that `named_key` made `key` from, None for any other key."""
    name = key.removeprefix("named/").removesuffix(_LEAF)
    try:
        return name if named_key(name) == key else None
    except InvalidSpecError:
        return None


def check_range(start: int, length: int) -> None:
    """Refuse a range that no object has.

    Raises:
        InvalidSpecError: start or length is negative.
    """
    if start < 0 or length < 0:
        raise InvalidSpecError(f"a range cannot start at {start} with {length} bytes")


def check_link_life(expires: timedelta) -> None:
    """Refuse a life that no S3 server would sign.

    Raises:
        InvalidSpecError: it is not between a second and seven days.
    """
    if not timedelta(seconds=1) <= expires <= timedelta(days=7):
        raise InvalidSpecError(f"a link lives between 1 second and 7 days, not {expires}")
