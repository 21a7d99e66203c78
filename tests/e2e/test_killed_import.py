"""`kill -9` in the middle of an import: what was done stays done, and nothing is left behind.

Other tests kill whole commands at any moment of their life. Here only the importing process
is killed, while it decodes and stores, and what it leaves is looked at each time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import strandline
from strandline import compose
from strandline.compose import Platform
from strandline.data.decode_process import DecodeProcess
from strandline.spec.records import ImportReport
from strandline.spec.settings import load_settings

KILLS = 5
IMAGES = 800
PATIENCE_SECONDS = 60.0
IMPORT = """
import sys
import strandline
strandline.import_dataset("shots", sys.argv[1], workers=2)
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children: from /proc"),
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shots")
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        path = folder / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (90, 90, 3), dtype=np.uint8)).save(path)
    return folder


class Home:
    """One STRANDLINE_HOME, and what an import has left in it."""

    def __init__(self, root: Path) -> None:
        self._environ = {**os.environ, "STRANDLINE_HOME": str(root)}
        self._root = root

    def open(self) -> Platform:
        return compose.local(load_settings({"STRANDLINE_HOME": str(self._root)}))

    def start(self, source: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", IMPORT, str(source)], env=self._environ)

    def noted(self) -> list[str]:
        """The images that the journal calls done, as far as it was written."""
        text = "".join(path.read_text() for path in self._root.rglob("journal.jsonl"))
        lines = [line for line in text.splitlines() if line.endswith("}")]
        return [json.loads(line)["image"] for line in lines if '"image"' in line]

    def count_objects(self) -> int:
        return sum(1 for _ in self._root.glob("store/objects/*/*"))

    def stored(self) -> set[str]:
        """Every file of the store, by name."""
        root = self.open().settings.home / "store"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def children_of(pid: int) -> list[int]:
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []  # it ended meanwhile
    return [int(word) for word in words]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < give_up_at, f"decoding processes outlive the import: {pids}"
        time.sleep(0.02)


def kill_at(process: subprocess.Popen[bytes], home: Home, images: int, seconds: float) -> bool:
    """Kill the import `seconds` after it stored so many images; False when it was over by then."""
    before = home.count_objects()
    while not children_of(process.pid) or home.count_objects() < before + images:
        if process.poll() is not None:
            return False
        time.sleep(0.002)
    time.sleep(seconds)
    over = process.poll() is not None
    children = children_of(process.pid)
    process.kill()
    process.wait()
    wait_until_gone(children)
    return not over


def import_here(
    home: Home, source: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[ImportReport, int]:
    """Import in this process; tell how many images were decoded."""
    decoded = 0
    give = DecodeProcess.give

    def counting(self: DecodeProcess, data: bytes) -> None:
        nonlocal decoded
        decoded += 1
        give(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(DecodeProcess, "give", counting)
        report = strandline.import_dataset("shots", source, workers=2, platform=home.open())
    return report, decoded


def test_a_killed_import_goes_on_where_it_was_and_leaves_nothing_else(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, hit = Home(tmp_path / "calm"), Home(tmp_path / "hit")
    undisturbed, decoded = import_here(calm, pictures, monkeypatch)
    assert decoded == IMAGES

    rng = random.Random(4)
    killed, done = 0, 0
    for _ in range(KILLS):
        if done > IMAGES / 2:
            break  # a fast machine stores much between a moment and its kill
        images, seconds = rng.randrange(100), rng.uniform(0, 0.05)
        killed += kill_at(hit.start(pictures), hit, images, seconds)
        noted = hit.noted()
        store = hit.open().store
        assert all(store.size(image) is not None for image in noted), "noted before it was safe"
        assert len(noted) >= done, "what was done is forgotten"
        done = len(noted)
    assert killed, "the imports were over before they were killed"
    assert done

    resumed, decoded = import_here(hit, pictures, monkeypatch)
    assert (resumed.digest, resumed.items) == (undisturbed.digest, IMAGES)
    assert resumed.labels == undisturbed.labels
    assert decoded == IMAGES - done
    assert Counter(hit.noted()).most_common(1)[0][1] == 1, "an image was done twice"
    assert hit.stored() == calm.stored()


def test_killed_decoding_processes_cost_the_import_nothing(pictures: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    process = home.start(pictures)
    rng = random.Random(4)
    killed, seen = 0, 0
    while process.poll() is None and killed < 3:
        stored = home.count_objects()
        children = children_of(process.pid) if stored > seen else []
        if children:
            with suppress(ProcessLookupError):  # the import ended at this moment
                os.kill(rng.choice(children), signal.SIGKILL)
            killed, seen = killed + 1, stored
        time.sleep(0.01)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert killed
    version = home.open().catalog.get_dataset_version("shots")
    assert version.items == IMAGES
