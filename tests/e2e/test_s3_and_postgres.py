"""Datasets from a bucket into a store in another one, with the catalog in PostgreSQL."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.servers.s3 import S3Server

import strandline
from strandline import compose
from strandline.compose import Platform
from strandline.spec.settings import load_settings

pytestmark = [pytest.mark.s3, pytest.mark.postgres]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def shared(s3_server: S3Server, s3_bucket: str, postgres_url: str) -> dict[str, str]:
    """The settings of every machine that shares this store and catalog."""
    return {
        **s3_server.environ,
        "STRANDLINE_STORE": f"s3://{s3_bucket}/store",
        "STRANDLINE_CATALOG": postgres_url,
    }


@pytest.fixture
def platform(shared: dict[str, str], tmp_path: Path) -> Iterator[Platform]:
    made = compose.local(load_settings({**shared, "STRANDLINE_HOME": str(tmp_path / "home")}))
    yield made
    made.catalog.close()  # type: ignore[attr-defined]


@pytest.fixture
def photos(s3_server: S3Server) -> str:
    """A bucket with six good pictures, a text, and one that is too large."""
    bucket = s3_server.make_bucket()
    files = {f"cat/{n}.png": picture(n) for n in range(3)}
    files |= {f"dog/{n}.png": picture(10 + n) for n in range(3)}
    files |= {"dog/text.png": b"no picture", "cat/large.png": b"\x89PNG" + bytes(60_000_000)}
    for key, data in files.items():
        s3_server.client.put_object(bucket, key, io.BytesIO(data), len(data))
    return bucket


def test_a_table_of_s3_addresses_is_imported_and_bad_rows_get_their_reasons(
    platform: Platform, photos: str, tmp_path: Path, s3_server: S3Server
) -> None:
    Image.new("RGB", (30, 30), "red").save(tmp_path / "local.png")
    rows = [f"TRAIN,s3://{photos}/cat/{n}.png,cat" for n in range(3)]
    rows += [f"TEST,s3://{photos}/dog/{n}.png,dog" for n in range(3)]
    rows += [f"TRAIN,s3://{photos}/cat/absent.png,cat", f"TRAIN,s3://{photos}/cat/large.png,cat"]
    rows += [f"TRAIN,s3://{photos}/dog/text.png,dog", "TRAIN,s3://absent-bucket/a.png,dog"]
    rows += ["VALIDATION,local.png,cat", f"UNASSIGNED,{(tmp_path / 'local.png').as_uri()}"]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows))

    report = strandline.import_dataset("pets", table, platform=platform)
    assert (report.items, report.labels) == (7, ("cat", "dog"))
    reasons = {each.source.rpartition("/")[2]: each.reason for each in report.refused}
    assert set(reasons) == {"absent.png", "large.png", "text.png", "a.png"}
    assert "no such object" in reasons["absent.png"]
    assert "larger than the limit" in reasons["large.png"]
    assert "text" in reasons["text.png"]
    assert "no such object" in reasons["a.png"]
    (listed,) = strandline.list_datasets(platform=platform)
    assert listed.digest == report.digest

    again = strandline.import_dataset("pets", table, platform=platform)
    assert (again.version, again.digest) == (1, report.digest)
    changed = picture(99)
    s3_server.client.put_object(photos, "cat/0.png", io.BytesIO(changed), len(changed))
    newer = strandline.import_dataset("pets", table, platform=platform)
    assert newer.version == 2
    assert newer.digest != report.digest


def test_a_prefix_of_a_bucket_is_class_folders(platform: Platform, photos: str) -> None:
    report = strandline.import_dataset("pets", f"s3://{photos}/", platform=platform)
    assert (report.items, report.labels) == (6, ("cat", "dog"))
    assert sorted(each.source for each in report.refused) == ["cat/large.png", "dog/text.png"]


def run(environ: dict[str, str], *words: str) -> Any:
    """Run a command as a user would and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "strandline", *words, "-o", "json"],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_what_one_machine_trained_another_one_resumes_evaluates_and_predicts_with(
    shared: dict[str, str], s3_server: S3Server, tmp_path: Path
) -> None:
    photos = s3_server.make_bucket()
    for label, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        for number in range(15):
            file = io.BytesIO()
            Image.new("RGB", (40, 40 + number), colour).save(file, "PNG")
            size = file.tell()
            file.seek(0)
            s3_server.client.put_object(photos, f"{label}/{number}.png", file, size)
    one = {**shared, "STRANDLINE_HOME": str(tmp_path / "one")}
    imported = run(one, "import", "colours", f"s3://{photos}/")
    assert (imported["items"], imported["labels"]) == (30, ["blue", "red"])
    trained = run(one, "train", "colours", "--trials", "1", "--budget", "20m", "--preset", "fast")
    assert (trained["trials"], trained["version"]) == (1, 1)

    other = {**shared, "STRANDLINE_HOME": str(tmp_path / "other")}
    (search,) = run(other, "searches", "list")
    resumed = run(other, "search", "resume", search["name"], "--trials", "2")
    assert resumed["trials"] == 2
    assert run(other, "evaluate", "colours")["items"] > 0
    Image.new("RGB", (60, 60), (210, 20, 40)).save(tmp_path / "new.png")
    (answer,) = run(other, "predict", "colours", str(tmp_path / "new.png"))
    assert answer["predictions"][0]["label"] == "red"
