"""The layouts by name, and which one a source has. A new one is its file and one line."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from strandline.data.sources.entries import (
    Entry,
    Found,
    ReadContext,
    S3Content,
    Skipped,
    is_junk,
    refuse,
    refuse_name,
)
from strandline.data.sources.layout import find_layout
from strandline.spec.errors import NotFoundError, UnusableDataError
from strandline.spec.v1alpha1 import SourceFormat

READERS = {
    SourceFormat.FOLDER: "strandline.data.sources.folder:read_folder",
    SourceFormat.ZIP: "strandline.data.sources.archive:read_zip",
    SourceFormat.CSV: "strandline.data.sources.table:read_table",
    SourceFormat.JSONL: "strandline.data.sources.json_lines:read_json_lines",
    SourceFormat.LABEL_STUDIO: "strandline.data.sources.label_studio:read_label_studio",
}
_BY_SUFFIX = {
    ".zip": SourceFormat.ZIP,
    ".csv": SourceFormat.CSV,
    ".tsv": SourceFormat.CSV,
    ".jsonl": SourceFormat.JSONL,
    ".ndjson": SourceFormat.JSONL,
    ".json": SourceFormat.LABEL_STUDIO,
}
_TAR_SUFFIXES = {".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}


def read_source(uri: str, layout: SourceFormat, context: ReadContext) -> Iterator[Found]:
    """Yield what the source at `uri` holds.

    Raises:
        NotFoundError: there is nothing.
        UnusableDataError: it is of no layout we read.
    """
    if uri.startswith("s3://"):
        yield from _read_bucket(uri, context)
        return
    path = _local_path(uri)
    if not _is_there(path):
        raise NotFoundError(f"there is no {path}")
    if not path.is_file() and not path.is_dir():
        raise UnusableDataError(f"{path} is neither a file nor a folder")
    if layout is SourceFormat.AUTO:
        layout = detect(path)
    if path.is_file() and layout is SourceFormat.FOLDER:
        from strandline.data.sources.folder import read_single_image

        yield from read_single_image(path, context)
        return
    module, _, name = READERS[layout].partition(":")
    yield from getattr(import_module(module), name)(path, context)


def detect(path: Path) -> SourceFormat:
    """Tell the layout by looking: a folder, else by suffix, else a single image.

    Raises:
        UnusableDataError: it is an archive other than zip.
    """
    if path.is_dir():
        return SourceFormat.FOLDER
    suffix = path.suffix.lower()
    if suffix in _TAR_SUFFIXES:
        raise UnusableDataError(f"{path.name}: {suffix} archives are not supported: use zip")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    with path.open("rb") as file:
        return SourceFormat.ZIP if file.read(4) == b"PK\x03\x04" else SourceFormat.FOLDER


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # no file can have such a name


def _local_path(uri: str) -> Path:
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    if "://" in uri:
        scheme = uri.split("://", 1)[0]
        raise UnusableDataError(f"{scheme}:// is not supported: give a path, file:// or s3://")
    return Path(uri).expanduser()


def _read_bucket(uri: str, context: ReadContext) -> Iterator[Found]:
    """Read a prefix of a bucket as class folders."""
    if context.s3 is None:
        raise UnusableDataError("s3:// is not set up: set STRANDLINE_S3_ENDPOINT and the keys")
    prefix = uri.rstrip("/") + "/"
    listed = context.s3.list_objects(prefix)
    layout = find_layout(PurePosixPath(name.removeprefix(prefix)) for name, _, _ in listed)
    yield from layout.warnings()
    for address, _, version in context.s3.list_objects(prefix):
        relative = PurePosixPath(address.removeprefix(prefix))
        if is_junk(relative.parts):
            yield Skipped()
            continue
        refused = refuse_name(str(relative), relative.suffix.lower())
        try:
            content = S3Content(address, context.s3, version)
            yield refused or Entry(str(relative), content, *layout.place(relative))
        except UnusableDataError as error:
            yield refuse(str(relative), str(error), "BadLabel")
