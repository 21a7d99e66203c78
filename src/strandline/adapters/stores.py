"""From a store's address to the adapter that speaks to it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from strandline.adapters.files import FileStore
from strandline.ports import ObjectStore
from strandline.spec.errors import InvalidSpecError
from strandline.spec.settings import S3Settings


def open_store(url: str, s3: S3Settings) -> ObjectStore:
    """Open `file:///folder` or `s3://bucket/prefix`.

    Raises:
        InvalidSpecError: any other address.
        UnavailableError: the store does not answer.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc:
        return FileStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from strandline.adapters.s3 import S3Store

        return S3Store(parts.netloc, parts.path.strip("/"), s3)
    raise InvalidSpecError(f"{url!r} is no store: write file:///folder or s3://bucket/prefix")
