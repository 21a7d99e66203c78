"""CSV tables: what a row says, and what becomes of a row that says nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from strandline.data.sources.entries import Entry, Found, ReadContext, Warned
from strandline.data.sources.table import read_table
from strandline.spec.errors import UnusableDataError
from strandline.spec.records import Refusal, Split


def read(folder: Path, table: str | bytes, *names: str) -> list[Found]:
    for name in names or ("a.png", "b.png", "c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not opened by a reader")
    path = folder / "table.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    return list(read_table(path, ReadContext()))


def entries(found: list[Found]) -> list[Entry]:
    return [each for each in found if isinstance(each, Entry)]


def refusals(found: list[Found]) -> list[Refusal]:
    return [each for each in found if isinstance(each, Refusal)]


def labels(found: list[Found]) -> dict[str, tuple[str, ...] | None]:
    return {each.source: each.labels for each in entries(found)}


def test_automl_rows_with_and_without_a_use_and_labels(tmp_path: Path) -> None:
    found = read(tmp_path, "TRAIN,a.png,cat\nb.png,dog,indoors\nUNASSIGNED,c.png\nTEST,a.png\n")
    assert [(each.source, each.labels, each.split) for each in entries(found)] == [
        ("a.png", ("cat",), Split.TRAIN),
        ("b.png", ("dog", "indoors"), None),
        ("c.png", None, None),
        ("a.png", None, Split.TEST),
    ]


def test_a_first_row_whose_label_is_a_column_name_is_no_heading(tmp_path: Path) -> None:
    assert labels(read(tmp_path, "a.png,path\nb.png,image\n")) == {
        "a.png": ("path",),
        "b.png": ("image",),
    }


def test_quotes_keep_commas_quotes_and_blanks(tmp_path: Path) -> None:
    found = read(tmp_path, '"a, b.png","red, dark"\nb.png,"say ""green"""\n', "a, b.png", "b.png")
    assert labels(found) == {"a, b.png": ("red, dark",), "b.png": ('say "green"',)}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("heading", ["file,label\r\n", ""])
def test_byte_order_marks_and_windows_line_ends_leave_no_trace(
    tmp_path: Path, encoding: str, heading: str
) -> None:
    table = (heading + "a.png,größe\r\nb.png,x\r\n").encode(encoding)
    assert labels(read(tmp_path, table)) == {"a.png": ("größe",), "b.png": ("x",)}


def test_latin_1_is_read_and_remarked(tmp_path: Path) -> None:
    found = read(tmp_path, "a.png,Müll\n".encode("latin-1"))
    assert labels(found) == {"a.png": ("Müll",)}
    assert any("Latin-1" in each.message for each in found if isinstance(each, Warned))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_are_told_by_the_heading(tmp_path: Path, delimiter: str) -> None:
    table = f"Split{delimiter}File{delimiter}Labels\nval{delimiter}a.png{delimiter}cat|dog\n"
    (entry,) = entries(read(tmp_path, table))
    assert (entry.labels, entry.split) == (("cat", "dog"), Split.VALIDATION)


def test_labels_stay_the_text_that_was_written(tmp_path: Path) -> None:
    found = read(tmp_path, "file,label\na.png,007\nb.png,NA\nc.png,=1+1\n")
    assert labels(found) == {"a.png": ("007",), "b.png": ("NA",), "c.png": ("=1+1",)}


def test_labels_that_look_the_same_become_the_same(tmp_path: Path) -> None:
    found = read(tmp_path, "a.png,caf\u00e9\nb.png, cafe\u0301 \n")
    assert set(labels(found).values()) == {("café",)}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../a.png,cat", "leads out"),
        ("/etc/passwd,cat", "leads out"),
        ("file:///etc/passwd,cat", "leads out"),
        ("http://example.org/a.png,cat", "never opened"),
        ("FTP://example.org/a.png,cat", "never opened"),
        ("gs://bucket/a.png,cat", "not supported"),
        ("s3://bucket/a.png,cat", "not set up"),
        ("absent.png,cat", "no such file"),
        ("folder,cat", "no such file"),
        (f"{'x' * 300}.png,cat", "no such file"),
        (f"{'x/' * 3000}a.png,cat", "very long"),
        ("loop/a.png,cat", "no such file"),
        ("a.png\0,cat", "very long"),
        (f"a.png,{'x' * 257}", "the limit is 256"),
        ("a.png,\x1b[2J", "control characters"),
        ('a.png,"cat\ndog"', "control characters"),
        (" ,cat", "names no file"),
        ('"a.png"x,cat', "malformed"),
        ('a.png,"cat', "never closed"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_number(
    tmp_path: Path, row: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    found = read(tmp_path, f"b.png,dog\n{row}\nc.png,dog\n")
    (refused,) = refusals(found)
    assert refused.source.startswith("table.csv:2")
    assert reason in refused.reason
    assert len(refused.source) <= 300
    expected = ["b.png"] if reason == "never closed" else ["b.png", "c.png"]
    assert [each.source for each in entries(found)] == expected


def test_row_numbers_count_the_heading_and_lines_inside_quotes(tmp_path: Path) -> None:
    found = read(tmp_path, 'file,label\na.png,"x\ny"\n\nabsent.png,cat\n')
    assert [each.source.split(" ")[0] for each in refusals(found)] == ["table.csv:2", "table.csv:5"]


def test_file_addresses_below_the_folder_are_opened(tmp_path: Path) -> None:
    found = read(tmp_path, f"{(tmp_path / 'a b.png').as_uri()},cat\n", "a b.png")
    assert [each.labels for each in entries(found)] == [("cat",)]


def test_percent_escapes_in_a_plain_path_are_not_decoded(tmp_path: Path) -> None:
    found = read(tmp_path, "50%25.png,cat\n", "50%25.png", "50%.png")
    assert [each.content.identity.split(":")[1] for each in entries(found)] == [
        str(tmp_path / "50%25.png")
    ]


@pytest.mark.parametrize("folder", ["table", "images", "photos"])
def test_the_folder_of_the_images_is_found_beside_the_table(tmp_path: Path, folder: str) -> None:
    found = read(tmp_path, "x.png,cat\n", f"{folder}/x.png", "other/y.png")
    assert len(entries(found)) == 1


def test_a_root_that_was_named_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    table = tmp_path / "table.csv"
    table.write_text("a.png,cat\n")
    found = list(read_table(table, ReadContext(root=tmp_path / "empty")))
    assert [each.reason for each in refusals(found)] == [
        f"there is no such file in {tmp_path / 'empty'}"
    ]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"PK\x03\x04 and so on", "zip archive"),
        (b"\0\0\0\0\n", "not a text table"),
    ],
)
def test_what_is_no_table_is_refused_as_a_whole(tmp_path: Path, table: bytes, reason: str) -> None:
    with pytest.raises(UnusableDataError, match=reason):
        read(tmp_path, table)
