"""What every reader yields: entries with their bytes still unread, and what was left out."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Refusal, Split

LONGEST_LABEL = 256
MOST_LABELS_PER_IMAGE = 1000
_LONGEST_SOURCE = 300
_CHUNK_BYTES = 1 << 20
# Left by operating systems beside people's files: counted, never reported one by one.
_JUNK_NAMES = {".ds_store", "thumbs.db", "desktop.ini", ".spotlight-v100", ".trashes", "__macosx"}
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"}
    | {".heic", ".heif", ".avif", ".svg"}  # known to be refused, with a reason of their own
)


class Content(Protocol):
    """The bytes of one image, not read yet."""

    @property
    def is_remote(self) -> bool:
        """Return whether reading mostly waits, so that several are worth reading at once."""

    @property
    def identity(self) -> str:
        """Name bytes that have not changed since: for the import's journal.

        Raises:
            UnusableDataError: there is nothing to read.
        """

    def read(self, max_bytes: int) -> bytes:
        """Return the bytes; more than `max_bytes` are never held.

        Raises:
            UnusableDataError: they cannot be read, or are too many.
        """


@dataclass(frozen=True, slots=True)
class Entry:
    """One image as a source names it.

    Attributes:
        source: name to show, relative to the source where possible.
        labels: None when the source says nothing about the image.
    """

    source: str
    content: Content
    labels: tuple[str, ...] | None = None
    split: Split | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A system file that is of no interest to anybody."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something a person should look at, though nothing was left out."""

    message: str


@dataclass(frozen=True, slots=True)
class Expected:
    """About how many images, refusals and skipped files follow: for a progress bar."""

    count: int


Found = Entry | Refusal | Skipped | Warned | Expected


class RemoteObjects(Protocol):
    """Objects in buckets, by their address `s3://bucket/key`."""

    def read_object(self, uri: str, max_bytes: int) -> bytes:
        """Return the object's bytes; more than `max_bytes` are never held.

        Raises:
            UnusableDataError: it is not there, not for us to read, or larger.
            UnavailableError: the server does not answer.
        """

    def version_of(self, uri: str) -> str:
        """Return what changes when the object's bytes do. Raises as `read_object`."""

    def list_objects(self, prefix_uri: str) -> Iterator[tuple[str, int, str]]:
        """Yield (uri, bytes, version) of the objects whose address starts so.

        Raises:
            NotFoundError: there is no such bucket.
            UnavailableError: the server does not answer.
        """


@dataclass(frozen=True, slots=True)
class ReadContext:
    """What readers may use.

    Attributes:
        root: folder that relative paths of a table start from; None: look for it.
        s3: what reads `s3://` addresses; None: it is not set up.
        max_bytes: of one image.
    """

    root: Path | None = None
    s3: RemoteObjects | None = None
    max_bytes: int = 50_000_000


class Reader(Protocol):
    """Reads one layout. Nothing it finds makes it raise; only a source that cannot be
    read at all does."""

    def __call__(self, path: Path, context: ReadContext) -> Iterator[Found]:
        """Yield what `path` holds.

        Raises:
            UnusableDataError: the source as a whole cannot be read.
        """


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file on this machine."""

    path: Path

    @property
    def is_remote(self) -> bool:
        return False

    @property
    def identity(self) -> str:
        try:
            found = self.path.stat()
        except OSError:
            return f"file:{self.path}:gone"
        # Many archives set one time of modification for all their files; that of the change
        # of status cannot be set, and tells that a file was put in another's place.
        times = f"{found.st_mtime_ns}:{found.st_ctime_ns}"
        return f"file:{self.path}:{found.st_size}:{times}"

    def read(self, max_bytes: int) -> bytes:
        try:
            # Opening a pipe would wait for its writer for ever, without O_NONBLOCK.
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb") as file:  # noqa: PTH123 – a descriptor has no path
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise UnusableDataError("not a regular file")
                data = file.read(max_bytes + 1)
        except OSError as error:
            raise UnusableDataError(f"cannot be read: {error.strerror or error}") from error
        if len(data) > max_bytes:
            raise UnusableDataError(f"the file is larger than the limit of {max_bytes:,} bytes")
        return data


@dataclass(frozen=True, slots=True)
class S3Content:
    """An object in an S3 store; its version is asked for where no listing told it."""

    uri: str
    objects: RemoteObjects
    version: str | None = None

    @property
    def is_remote(self) -> bool:
        return True

    @property
    def identity(self) -> str:
        version = self.objects.version_of(self.uri) if self.version is None else self.version
        return f"s3:{self.uri}:{version}"

    def read(self, max_bytes: int) -> bytes:
        return self.objects.read_object(self.uri, max_bytes)


def count_lines(path: Path) -> int:
    """Return how many lines a text file has, in bounded memory."""
    lines, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def refuse(source: str, reason: str, code: str) -> Refusal:
    """Make a refusal whose texts are bounded and free of control characters."""
    return Refusal(source=clean_text(source), reason=clean_text(reason, 500), code=code)


def clean_text(text: str, longest: int = _LONGEST_SOURCE) -> str:
    """Escape what a terminal or database would choke on, and bound the length."""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text
    )
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def clean_label(text: str) -> str:
    """Return the label in normal form (NFC, trimmed): equal-looking texts become equal.

    Raises:
        UnusableDataError: it is too long or holds control characters.
    """
    label = unicodedata.normalize("NFC", text).strip()
    if len(label) > LONGEST_LABEL:
        raise UnusableDataError(
            f"a label has {len(label):,} characters; the limit is {LONGEST_LABEL}"
        )
    # Cc: control, Cs: lone surrogates, Cf would forbid legitimate joiners.
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in label):
        raise UnusableDataError("a label holds control characters")
    return label


def clean_labels(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct labels, sorted, without empty ones.

    Raises:
        UnusableDataError: one of them cannot be used, or there are too many.
    """
    labels = sorted({label for text in texts if (label := clean_label(text))})
    if len(labels) > MOST_LABELS_PER_IMAGE:
        raise UnusableDataError(
            f"the image has {len(labels)} labels; the limit is {MOST_LABELS_PER_IMAGE}"
        )
    return tuple(labels)


def is_junk(parts: Iterable[str]) -> bool:
    """Return whether a path (its parts) is an operating system's leftover."""
    return any(part.lower() in _JUNK_NAMES or part.startswith("._") for part in parts)


def refuse_name(source: str, suffix: str) -> Refusal | None:
    """Refuse a file that is no image by its name; None for one that is worth opening."""
    if suffix in IMAGE_SUFFIXES or not suffix:
        return None
    if suffix in (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"):
        return refuse(source, "an archive inside the source is not opened", "NestedArchive")
    return refuse(source, f"{suffix} is not an image file name", "NotAnImage")
