"""An import as a whole: versions, resuming, hostile sources, and what the report tells."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import strandline
from strandline import compose
from strandline.compose import Platform
from strandline.data.decode_pool import DecodePool
from strandline.data.versions import read_items
from strandline.spec.errors import EmptyImportError, InterruptedRunError, UnusableDataError
from strandline.spec.records import Item, Split, Task
from strandline.spec.settings import load_settings
from strandline.spec.v1alpha1 import ImportLimits


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return compose.local(load_settings({"STRANDLINE_HOME": str(tmp_path / "home")}))


def picture(seed: int, side: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def pets(root: Path, each: int = 3) -> Path:
    return folder_of(
        root,
        {f"cat/{n}.png": picture(n) for n in range(each)}
        | {f"dog/{n}.png": picture(100 + n) for n in range(each)},
    )


def items_of(platform: Platform, name: str = "pets") -> list[Item]:
    return read_items(platform.store, platform.catalog.get_dataset_version(name))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is sent to decoding processes."""
    sent: list[bytes] = []
    real = DecodePool.decode_all

    def counting(self: DecodePool[object], images: Iterator[tuple[object, bytes]]) -> object:
        def noted() -> Iterator[tuple[object, bytes]]:
            for key, data in images:
                sent.append(data)
                yield key, data

        return real(self, noted())

    monkeypatch.setattr(DecodePool, "decode_all", counting)
    return sent


def test_importing_the_same_again_decodes_nothing_and_makes_no_version(
    platform: Platform, tmp_path: Path, decoded: list[bytes]
) -> None:
    source = pets(tmp_path / "pets")
    first = strandline.import_dataset("pets", source, platform=platform)
    assert (first.version, first.items, first.labels) == (1, 6, ("cat", "dog"))
    decoded.clear()
    again = strandline.import_dataset("pets", source, platform=platform)
    assert (again.version, again.digest) == (1, first.digest)
    assert decoded == []


def test_additions_make_a_version_that_shares_the_rest(
    platform: Platform, tmp_path: Path, decoded: list[bytes]
) -> None:
    source = pets(tmp_path / "pets")
    first = strandline.import_dataset("pets", source, platform=platform)
    before = set(platform.store.digests())
    decoded.clear()
    added = picture(55)
    folder_of(source, {"cat/new.png": added})
    second = strandline.import_dataset("pets", source, platform=platform)
    assert (second.version, second.items) == (2, 7)
    assert decoded == [added]
    assert len(set(platform.store.digests()) - before) == 2  # the image and the manifest
    versions = platform.catalog.list_dataset_versions("pets")
    assert [each.digest for each in versions] == [first.digest, second.digest]
    assert versions[1].parent == first.digest


def test_the_digest_does_not_depend_on_workers_or_on_where_the_source_lies(
    platform: Platform, tmp_path: Path
) -> None:
    one = strandline.import_dataset("one", pets(tmp_path / "a"), workers=1, platform=platform)
    two = strandline.import_dataset("two", pets(tmp_path / "b"), workers=3, platform=platform)
    assert one.digest == two.digest


def test_a_stopped_import_goes_on_where_it_was(
    platform: Platform, tmp_path: Path, decoded: list[bytes]
) -> None:
    source = pets(tmp_path / "pets", each=30)
    calls = iter(range(1000))
    with pytest.raises(InterruptedRunError, match="goes on"):
        strandline.import_dataset(
            "pets", source, workers=1, platform=platform, stop_requested=lambda: next(calls) > 40
        )
    done = len(decoded)
    assert 0 < done < 60
    decoded.clear()
    report = strandline.import_dataset("pets", source, platform=platform)
    assert report.items == 60
    in_flight = 4  # were being decoded when it stopped
    assert 60 - done <= len(decoded) <= 60 - done + in_flight


def test_a_changed_file_is_looked_at_again(platform: Platform, tmp_path: Path) -> None:
    source = pets(tmp_path / "pets")
    first = strandline.import_dataset("pets", source, platform=platform)
    folder_of(source, {"cat/0.png": picture(77, side=41)})
    second = strandline.import_dataset("pets", source, platform=platform)
    assert second.version == 2
    assert second.digest != first.digest


def test_duplicates_are_merged_and_contradicting_labels_reported(
    platform: Platform, tmp_path: Path
) -> None:
    source = pets(tmp_path / "pets")
    folder_of(source, {"cat/copy.png": picture(0), "dog/cat.png": picture(1)})
    report = strandline.import_dataset("pets", source, platform=platform)
    assert (report.items, report.exact_duplicates) == (6, 2)
    (warning,) = report.warnings
    assert "cat/1.png = dog/cat.png" in warning
    labels = {item.sources: item.labels for item in items_of(platform)}
    assert labels["cat/0.png", "cat/copy.png"] == ("cat",)
    assert labels["cat/1.png", "dog/cat.png"] is None


def test_recompressed_pictures_form_a_group(platform: Platform, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    photo = coarse.resize((256, 256), Image.Resampling.BICUBIC)
    (tmp_path / "p" / "a").mkdir(parents=True)
    photo.save(tmp_path / "p" / "a" / "one.png")
    photo.save(tmp_path / "p" / "a" / "two.jpg", quality=80)
    pets(tmp_path / "p")
    report = strandline.import_dataset("pets", tmp_path / "p", platform=platform)
    assert (report.items, report.near_duplicate_groups) == (8, 1)
    grouped = [i.sources[0] for i in items_of(platform) if i.near_duplicates is not None]
    assert sorted(grouped) == ["a/one.png", "a/two.jpg"]


def test_each_bad_file_gets_its_reason_and_the_rest_goes_on(
    platform: Platform, tmp_path: Path
) -> None:
    source = pets(tmp_path / "pets")
    outside = folder_of(tmp_path / "elsewhere", {"secret.png": picture(9)})
    bad = {"cat/empty.png": b"", "cat/text.jpg": b"hello", "cat/notes.txt": b"hello"}
    folder_of(source, {**bad, "cat/.DS_Store": b"x", "cat/in.zip": b"PK\x03\x04"})
    (source / "cat" / "link.png").symlink_to(outside / "secret.png")
    (source / "linked").symlink_to(outside)
    report = strandline.import_dataset("pets", source, platform=platform)
    assert (report.items, report.skipped) == (6, 1)
    reasons = {each.source: each.reason for each in report.refused}
    assert sorted(reasons) == [
        *("cat/empty.png", "cat/in.zip", "cat/link.png", "cat/notes.txt", "cat/text.jpg"),
        "linked",
    ]
    assert "empty" in reasons["cat/empty.png"]
    assert "leads out" in reasons["cat/link.png"]


def test_without_one_usable_image_the_report_still_tells_why(
    platform: Platform, tmp_path: Path
) -> None:
    source = folder_of(tmp_path / "pets", {"cat/a.png": b"hello"})
    with pytest.raises(EmptyImportError) as caught:
        strandline.import_dataset("pets", source, platform=platform)
    assert [each.source for each in caught.value.report.refused] == ["cat/a.png"]
    assert platform.catalog.list_dataset_versions("pets") == []


def test_limits_are_the_datasets(platform: Platform, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "p", {"a/small.png": picture(1), "a/big.png": picture(2, 80)})
    limits = ImportLimits(max_pixels=5000)
    report = strandline.import_dataset("pets", source, limits=limits, platform=platform)
    (refused,) = report.refused
    assert refused.source == "a/big.png"
    assert "5,000" in refused.reason
    wider = strandline.import_dataset("pets", source, platform=platform)
    assert (wider.items, wider.refused) == (2, ())
    with pytest.raises(UnusableDataError, match="maxItems"):
        strandline.import_dataset("q", source, limits=ImportLimits(max_items=1), platform=platform)


def test_progress_tells_how_many_are_expected(platform: Platform, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    strandline.import_dataset(
        "pets", pets(tmp_path / "p"), platform=platform, progress=lambda *now: seen.append(now)
    )
    assert seen[-1] == (6, 6)
    assert {total for _, total in seen} == {6}


def write_zip(path: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def test_a_zip_is_read_and_nothing_of_it_lands_on_the_disk(
    platform: Platform, tmp_path: Path
) -> None:
    link = zipfile.ZipInfo("cat/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = write_zip(
        tmp_path / "pets.zip",
        [
            ("cat/a.png", picture(1)),
            ("dog/b.png", picture(2)),
            ("../../evil.png", picture(3)),
            ("/absolute.png", picture(4)),
            (link, b"/etc/passwd"),
            ("cat/bomb.png", bytes(60_000_000)),
            ("__MACOSX/cat/._a.png", b"x"),
        ],
    )
    before = sorted(path.name for path in tmp_path.iterdir())
    report = strandline.import_dataset("pets", archive, platform=platform)
    assert (report.items, report.skipped) == (2, 1)
    assert sorted(each.source for each in report.refused) == [
        *("../../evil.png", "/absolute.png", "cat/bomb.png", "cat/link.png"),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not list(tmp_path.rglob("evil*"))


def test_a_table_decides_splits_labels_and_groups(platform: Platform, tmp_path: Path) -> None:
    folder_of(tmp_path, {f"{name}.png": picture(n) for n, name in enumerate("abcdef")})
    rows = ["file;labels;split;group", "a.png;cat|indoors;train;h1", 'b.png;"dog";test;h2']
    rows += ["c.png;;;", "../outside.png;cat;;", "absent.png;cat;;", "d.png;cat;holdout;"]
    rows += ["https://example.org/x.png;cat;;", "e.png;Zürich;validation;h1"]
    table = tmp_path / "table.csv"
    table.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    report = strandline.import_dataset("pets", table, platform=platform)
    assert report.labels == ("Zürich", "cat", "dog", "indoors")
    reasons = [each.reason for each in report.refused]
    for words in ("leads out", "no such file", "is no split", "never opened"):
        assert any(words in reason for reason in reasons), (words, reasons)
    found = {item.sources[0]: item for item in items_of(platform)}
    assert (found["a.png"].labels, found["a.png"].split) == (("cat", "indoors"), Split.TRAIN)
    assert (found["b.png"].group, found["e.png"].split) == ("h2", Split.VALIDATION)
    assert found["c.png"].labels is None
    assert platform.catalog.get_dataset_version("pets").task is Task.MULTILABEL


def test_broken_lines_of_jsonl_cost_themselves_only(platform: Platform, tmp_path: Path) -> None:
    folder_of(tmp_path, {"a.png": picture(1), "b.png": picture(2)})
    lines = [json.dumps({"file": "a.png", "label": "cat"}), "{", "[]", '{"label": "cat"}', ""]
    lines += ["[" * 5000, json.dumps({"file": "b.png", "labels": ["dog"]})]
    lines += [json.dumps({"file": "b.png", "labels": [7]})]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    report = strandline.import_dataset("pets", tmp_path / "t.jsonl", platform=platform)
    assert (report.items, report.labels) == (2, ("cat", "dog"))
    assert [each.source for each in report.refused] == [f"t.jsonl:{n}" for n in (2, 3, 4, 6, 8)]
