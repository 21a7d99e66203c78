"""Folders and zips of class folders: names are never believed, links never followed out."""

from __future__ import annotations

import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from strandline.data.sources.archive import read_zip
from strandline.data.sources.entries import Entry, Expected, Found, ReadContext, Skipped, Warned
from strandline.data.sources.folder import read_folder
from strandline.data.sources.registry import read_source
from strandline.spec.errors import NotFoundError, UnusableDataError
from strandline.spec.records import Refusal
from strandline.spec.v1alpha1 import SourceFormat

MOST = 1_000_000


def place(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not opened by a reader")
    return root


def look(root: Path) -> list[Found]:
    return list(read_folder(root, ReadContext()))


def labels(found: list[Found]) -> dict[str, tuple[str, ...] | None]:
    return {each.source: each.labels for each in found if isinstance(each, Entry)}


def refused(found: list[Found]) -> dict[str, str]:
    return {each.source: each.reason for each in found if isinstance(each, Refusal)}


def splits(found: list[Found]) -> dict[str, str | None]:
    return {e.source: e.split and e.split.value for e in found if isinstance(e, Entry)}


def zip_of(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(zipfile.ZipInfo(name), f"picture {number}")
    return path


def unzip(path: Path) -> list[Found]:
    """Read all there is, as an import does while the archive is open."""
    found: list[Found] = []
    for each in read_zip(path, ReadContext()):
        if isinstance(each, Entry):
            try:
                each.content.read(MOST)
            except UnusableDataError as error:
                found.append(Refusal(source=each.source, reason=str(error), code=""))
                continue
        found.append(each)
    return found


def test_the_top_folder_is_the_label(tmp_path: Path) -> None:
    place(tmp_path, "cat/a.jpg", "cat/2024/b.PNG", "dog/no-extension", "loose.gif")
    assert labels(look(tmp_path)) == {
        "cat/a.jpg": ("cat",),
        "cat/2024/b.PNG": ("cat",),
        "dog/no-extension": ("dog",),
        "loose.gif": None,
    }


def test_what_is_expected_is_what_comes(tmp_path: Path) -> None:
    place(tmp_path, "a/1.png", "a/2.txt", "b/.DS_Store", "b/3.png")
    expected, *found = look(tmp_path)
    assert expected == Expected(len(found))


def test_files_of_the_system_are_counted_only(tmp_path: Path) -> None:
    place(tmp_path, "a/Thumbs.db", "a/._1.png", "__MACOSX/a/1.png")
    found = look(tmp_path)
    assert [each for each in found if isinstance(each, Skipped)] == [Skipped()] * 3
    assert (labels(found), refused(found)) == ({}, {})


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    source = place(tmp_path / "in", "a/1.png")
    place(tmp_path, "out/2.png")
    (source / "a" / "same.png").symlink_to("1.png")
    (source / "a" / "out.png").symlink_to(tmp_path / "out" / "2.png")
    (source / "a" / "loop.png").symlink_to("loop.png")
    (source / "out").symlink_to(tmp_path / "out")
    (source / "up").symlink_to("..")
    (source / "round").symlink_to("a")
    found = look(source)
    assert sorted(labels(found)) == ["a/1.png", "a/same.png"]
    assert sorted(refused(found)) == ["a/loop.png", "a/out.png", "out", "round", "up"]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path) -> None:
    place(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    found = []
    for each in read_folder(tmp_path, ReadContext()):
        found.append(each)
        if labels(found) and (tmp_path / "b").exists():
            (tmp_path / "b" / "2.png").unlink()
            (tmp_path / "b").rmdir()
    assert sorted(labels(found)) == ["a/1.png", "c/3.png"]
    assert list(refused(found)) == ["b"]


def test_names_that_are_no_text_are_refused_and_shown_escaped(tmp_path: Path) -> None:
    place(tmp_path, "ok/1.png", os.fsdecode(b"c\xe9t/\xff.png"))
    found = look(tmp_path)
    assert list(labels(found)) == ["ok/1.png"]
    ((source, reason),) = refused(found).items()
    assert source.isprintable()
    assert reason


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder deeper than Python may recurse; removed by hand, as no recursion can."""
    depth = sys.getrecursionlimit() + 200
    folder = place(tmp_path, "a/1.png")
    below = [folder]
    for _ in range(depth):
        below.append(below[-1] / "d")
        below[-1].mkdir()
    yield folder
    for each in reversed(below[1:]):
        each.rmdir()


def test_a_folder_deeper_than_python_may_recurse_is_walked(deep: Path) -> None:
    assert list(labels(look(deep))) == ["a/1.png"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    place(tmp_path, "a/1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    found = [each for each in look(tmp_path) if isinstance(each, Entry)]
    (pipe,) = (each for each in found if each.source == "a/pipe.png")
    with pytest.raises(UnusableDataError, match="not a regular file"):
        pipe.content.read(MOST)
    with pytest.raises(UnusableDataError, match="neither a file nor a folder"):
        list(read_source(str(tmp_path / "a" / "pipe.png"), SourceFormat.AUTO, ReadContext()))


@pytest.mark.parametrize(
    ("uri", "error"),
    [
        ("https://example.org/pets.zip", "not supported"),
        ("gs://bucket/pets", "not supported"),
        ("s3://bucket/pets", "not set up"),
        ("pets.tar.gz", "use zip"),
    ],
)
def test_sources_that_are_not_read_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, error: str
) -> None:
    monkeypatch.chdir(place(tmp_path, "pets.tar.gz"))
    with pytest.raises(UnusableDataError, match=error):
        list(read_source(uri, SourceFormat.AUTO, ReadContext()))


def test_a_source_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    for uri in (str(tmp_path / "absent"), (tmp_path / "absent").as_uri(), "x" * 300):
        with pytest.raises(NotFoundError):
            list(read_source(uri, SourceFormat.AUTO, ReadContext()))


def test_a_zip_is_told_by_its_content(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "pets", "cat/a.png")
    found = list(read_source(path.as_uri(), SourceFormat.AUTO, ReadContext()))
    assert labels(found) == {"cat/a.png": ("cat",)}


@pytest.mark.parametrize(
    "name",
    [
        *("../a.png", "cat/../../a.png", "/a.png", "cat\\a.png", "C:/a.png", "C:a.png"),
        *("cat/a\n.png", "cat/\x1b[2J.png", "x/" * 40 + "a.png", "cat/" + "x" * 1100 + ".png"),
        *("cat/in.zip", "cat/in.tar.gz", "cat/notes.txt", f"{'x' * 300}/a.png"),
    ],
)
def test_entries_with_such_names_are_refused_and_the_rest_is_kept(
    tmp_path: Path, name: str
) -> None:
    found = unzip(zip_of(tmp_path / "pets.zip", "cat/1.png", name, "dog/2.png"))
    assert labels(found) == {"cat/1.png": ("cat",), "dog/2.png": ("dog",)}
    assert len(refused(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pets.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_entries_of_one_name_the_first_is_kept(tmp_path: Path) -> None:
    found = unzip(zip_of(tmp_path / "pets.zip", "cat/1.png", "cat/1.png", "Cat/1.png"))
    assert labels(found) == {"cat/1.png": ("cat",), "Cat/1.png": ("Cat",)}
    assert list(refused(found)) == ["cat/1.png"]
    assert any("upper and lower case" in w.message for w in found if isinstance(w, Warned))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_special_entries_are_refused_and_so_is_what_goes_through_them(
    tmp_path: Path, kind: int
) -> None:
    special = zipfile.ZipInfo("link")
    special.external_attr = (kind | 0o777) << 16
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(special, "..")
        archive.writestr("link/a.png", "x")
        archive.writestr("cat/a.png", "x")
    found = unzip(path)
    assert list(labels(found)) == ["cat/a.png"]
    assert sorted(refused(found)) == ["link", "link/a.png"]


def test_sizes_are_counted_while_bytes_come_out(tmp_path: Path) -> None:
    path = tmp_path / "pets.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/bomb.png", bytes(5 * MOST))
        archive.writestr("cat/a.png", "x")
    honest = unzip(path)
    data = bytearray(path.read_bytes())
    while (at := data.find(struct.pack("<I", 5 * MOST))) >= 0:  # in both headers
        data[at : at + 4] = struct.pack("<I", 1000)
    path.write_bytes(data)
    lying = unzip(path)
    assert list(labels(honest)) == list(labels(lying)) == ["cat/a.png"]
    assert list(refused(honest)) == list(refused(lying)) == ["cat/bomb.png"]
    assert "unpacks to more than" in refused(honest)["cat/bomb.png"]


def overlapping_zip(path: Path, count: int) -> Path:
    """Write entries that share one stream, as in Fifield's zip bomb (2019)."""
    packer = zlib.compressobj(9, wbits=-15)
    stream = packer.compress(bytes(100_000)) + packer.flush()
    name = b"cat/0.png"
    numbers = (20, 0, 8, 0, 0, zlib.crc32(bytes(100_000)), len(stream), 100_000, len(name), 0)
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", *numbers) + name + stream
    directory = b""
    for number in range(count):
        each = f"cat/{number}.png".encode()
        head = struct.pack("<4s6H3I", b"PK\x01\x02", 20, *numbers[:8])
        directory += head + struct.pack("<5H2I", len(each), 0, 0, 0, 0, 0, 0) + each
    sizes = (len(directory), len(local))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, *sizes, 0)
    path.write_bytes(local + directory + end)
    return path


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    assert list(labels(unzip(overlapping_zip(tmp_path / "one.zip", 1)))) == ["cat/0.png"]
    found = unzip(overlapping_zip(tmp_path / "five.zip", 5))
    assert labels(found) == {}
    assert all("shares its bytes" in reason for reason in refused(found).values())
    assert len(refused(found)) == 5


@pytest.mark.parametrize("kept", [0, 1, 30, -1, -30])
def test_an_archive_that_is_cut_off_is_refused_as_a_whole(tmp_path: Path, kept: int) -> None:
    path = zip_of(tmp_path / "pets.zip", "cat/1.png")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UnusableDataError, match=r"not a zip archive|cut off"):
        unzip(path)


@pytest.mark.parametrize("flipped", range(0, 200, 3))
def test_a_flipped_byte_anywhere_costs_at_most_a_refusal(tmp_path: Path, flipped: int) -> None:
    path = zip_of(tmp_path / "pets.zip", "cat/1.png", "dog/2.png")
    data = bytearray(path.read_bytes())
    data[flipped % len(data)] ^= 0x55
    path.write_bytes(data)
    try:
        found = unzip(path)
    except UnusableDataError:
        return
    assert len(labels(found)) + len(refused(found)) <= 2


# ---------------------------------------------------------------- folders of a split

DIVIDED = ("train/cat/a.png", "train/dog/2024/b.png", "Val/cat/c.png", "test/dog/d.png", "e.png")


def test_folders_of_a_split_give_the_split_and_those_in_them_the_label(tmp_path: Path) -> None:
    found = look(place(tmp_path, *DIVIDED))
    assert labels(found) == {
        "train/cat/a.png": ("cat",),
        "train/dog/2024/b.png": ("dog",),
        "Val/cat/c.png": ("cat",),
        "test/dog/d.png": ("dog",),
        "e.png": None,
    }
    assert splits(found) == {
        "train/cat/a.png": "train",
        "train/dog/2024/b.png": "train",
        "Val/cat/c.png": "validation",
        "test/dog/d.png": "test",
        "e.png": None,
    }
    assert [each.message for each in found if isinstance(each, Warned)] == [
        "the folders Val, test, train are read as parts of a split, not as labels"
    ]


def test_an_archive_may_have_folders_of_a_split_too(tmp_path: Path) -> None:
    found = unzip(zip_of(tmp_path / "a.zip", *DIVIDED))
    assert labels(found)["train/dog/2024/b.png"] == ("dog",)
    assert splits(found)["Val/cat/c.png"] == "validation"


@pytest.mark.parametrize(
    "names",
    [
        ("train/a.png", "test/b.png"),
        ("train/cat/a.png", "bus/cat/b.png"),
        ("train/steam/a.png", "train/diesel/b.png"),
        ("train/cat/a.png", "test/cat/b.png", "test/c.png"),
    ],
)
def test_labels_that_are_called_like_a_split_stay_labels(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    found = look(place(tmp_path, *names))
    assert labels(found) == {name: (name.split("/")[0],) for name in names}
    assert set(splits(found).values()) == {None}
