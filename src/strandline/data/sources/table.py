"""CSV tables: Cloud AutoML's `[ML_USE,]URI[,LABEL…]` and tables with a heading row.

With a heading row, columns are found by name: the file (`file`, `filename`, `path`,
`image`, `uri` …), `label` (taken as it stands; several such columns make several labels),
`labels` (several, separated by `|`), the split (`split`, `ml_use`, `set` …) and `group`;
others are ignored and named. Commas, semicolons and tabs are told apart by the heading.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TextIO

from strandline.data.sources.addresses import AddressBook, address_book
from strandline.data.sources.entries import (
    IMAGE_SUFFIXES,
    Entry,
    Expected,
    Found,
    ReadContext,
    Warned,
    clean_labels,
    clean_text,
    count_lines,
    refuse,
)
from strandline.data.sources.layout import SPLITS
from strandline.spec.errors import UnusableDataError

_FILE_COLUMNS = {"file", "filename", "file_name", "filepath", "path", "image", "image_path", "uri"}
_FILE_COLUMNS |= {"image_uri", "gcs_uri", "image_file", "url"}
_LABEL_COLUMNS = {"label", "class", "category", "label_name", "class_name"}
_LABELS_COLUMNS = {"labels", "classes", "tags", "categories"}
_SPLIT_COLUMNS = {"split", "ml_use", "set", "subset", "partition"}
_GROUP_COLUMNS = {"group", "group_id"}
_ML_USES = {"train", "training", "validation", "test", "unassigned"}
_LONGEST_FIELD = 1_000_000
_CHUNK_BYTES = 1 << 20
_PREVIEWED = 200
csv.field_size_limit(_LONGEST_FIELD)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where things stand in a row; None: a row without heading."""

    file: int
    labels: tuple[int, ...] = ()
    joined: int | None = None
    split: int | None = None
    group: int | None = None
    width: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """What one row says, before its address is resolved."""

    number: int
    file: str
    labels: tuple[str, ...]
    split: str
    group: str


def read_table(path: Path, context: ReadContext) -> Iterator[Found]:
    """Yield what the rows of the table at `path` name."""
    encoding, remark = _find_encoding(path)
    if remark:
        yield Warned(f"{path.name}: {remark}")
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        delimiter, columns, unknown = _look_at_heading(file, path)
        if unknown:
            names = clean_text(", ".join(unknown))
            yield Warned(f"{path.name}: columns that were ignored: {names}")
        yield Expected(count_lines(path) - (columns is not None))
        book = address_book(path, _preview(path, encoding, delimiter, columns), context)
        for each in _rows(file, delimiter, columns, path):
            yield _entry(each, book, path) if isinstance(each, _Row) else each


def _entry(row: _Row, book: AddressBook, path: Path) -> Found:
    where = f"{path.name}:{row.number}"
    try:
        labels = clean_labels(row.labels)
        if row.split.strip().lower() not in SPLITS:
            raise UnusableDataError(
                f"{row.split.strip()[:40]!r} is no split: write train, validation, test or nothing"
            )
        content = book.resolve(row.file)
    except UnusableDataError as error:
        shown = f"{where} ({row.file})" if row.file else where
        return refuse(shown, str(error), "BadRow")
    split = SPLITS[row.split.strip().lower()]
    return Entry(clean_text(row.file), content, labels or None, split, row.group.strip() or None)


def _rows(
    file: TextIO, delimiter: str, columns: _Columns | None, path: Path
) -> Iterator[_Row | Found]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    first = 2 if columns else 1
    ended = 0
    while True:
        started = ended + first
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _refuse_record(path, started, error)
            if "unexpected end" in str(error):
                return
            ended = reader.line_num
            continue
        ended = reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        row = _parse(cells, started, columns)
        yield row or refuse(f"{path.name}:{started}", "the row names no file", "BadRow")


def _refuse_record(path: Path, number: int, error: csv.Error) -> Found:
    text = str(error)
    if "unexpected end" in text or "field larger" in text:
        reason = "a quote that opens in this row is never closed, or a field is far too long"
    else:
        reason = f"the row is malformed: {text}"
    return refuse(f"{path.name}:{number}", reason, "BadRow")


def _parse(cells: Sequence[str], number: int, columns: _Columns | None) -> _Row | None:
    if columns is None:
        with_use = cells[0].strip().lower() in _ML_USES
        use, rest = (cells[0], cells[1:]) if with_use else ("", cells)
        file = rest[0].strip() if rest else ""
        return _Row(number, file, tuple(rest[1:]), use, "") if file else None

    def cell(at: int | None) -> str:
        return cells[at] if at is not None and at < len(cells) else ""

    labels = tuple(cell(at) for at in columns.labels)
    if columns.joined is not None:
        labels += tuple(cell(columns.joined).split("|"))
    file = cell(columns.file).strip()
    if not file:
        return None
    return _Row(number, file, labels, cell(columns.split), cell(columns.group))


def _look_at_heading(file: TextIO, path: Path) -> tuple[str, _Columns | None, list[str]]:
    """Read the heading row if there is one; else leave the file at its start."""
    line = file.readline(_LONGEST_FIELD)
    if not line.strip():
        raise UnusableDataError(f"{path.name} is empty, or begins with an empty line")
    for delimiter in (",", ";", "\t"):
        names = [name.strip().strip('"').lower() for name in line.split(delimiter)]
        if any(name in _FILE_COLUMNS for name in names) and not any(map(_is_address, names)):
            return delimiter, _columns(names), _unknown(names)
    if "\0" in line:
        raise UnusableDataError(f"{path.name} is not a text table")
    file.seek(0)
    if line.startswith("\ufeff"):
        file.read(1)
    return next((d for d in (",", ";", "\t") if d in line), ","), None, []


def _is_address(cell: str) -> bool:
    """Tell a file from a column's name: a label may well be called `path`."""
    return "/" in cell or PurePosixPath(cell).suffix in IMAGE_SUFFIXES


def _columns(names: Sequence[str]) -> _Columns:
    def first(among: set[str]) -> int | None:
        return next((at for at, name in enumerate(names) if name in among), None)

    file = first(_FILE_COLUMNS)
    assert file is not None, "the heading was recognised by this column"
    return _Columns(
        file=file,
        labels=tuple(at for at, name in enumerate(names) if name in _LABEL_COLUMNS),
        joined=first(_LABELS_COLUMNS),
        split=first(_SPLIT_COLUMNS),
        group=first(_GROUP_COLUMNS),
        width=len(names),
    )


def _unknown(names: Sequence[str]) -> list[str]:
    known = _FILE_COLUMNS | _LABEL_COLUMNS | _LABELS_COLUMNS | _SPLIT_COLUMNS | _GROUP_COLUMNS
    return [name for name in names if name and name not in known]


def _preview(path: Path, encoding: str, delimiter: str, columns: _Columns | None) -> Iterator[str]:
    """Yield the addresses of the first rows, to find the folder they belong to."""
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        if columns:
            file.readline(_LONGEST_FIELD)
        for each in islice(_rows(file, delimiter, columns, path), _PREVIEWED):
            if isinstance(each, _Row):
                yield each.file


def _find_encoding(path: Path) -> tuple[str, str | None]:
    """Return the encoding, and a remark when it is not the expected UTF-8."""
    with path.open("rb") as file:
        head = file.read(4)
        if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16", "read as UTF-16"
        if head == b"PK\x03\x04":
            raise UnusableDataError(f"{path.name} is a zip archive, not a table")
        decoder = codecs.getincrementaldecoder("utf-8")()
        file.seek(0)
        try:
            while chunk := file.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1", "is not UTF-8: read as Latin-1; check names with accents"
    return "utf-8-sig", None
