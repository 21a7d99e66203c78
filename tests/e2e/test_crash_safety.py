"""`kill -9` at random moments of import and training: everything resumes, nothing is lost.

The real commands run as a user would start them; the moments are drawn from a fixed seed
over the time the undisturbed run took, so each run of the test kills at other code.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

IMPORT_KILLS, TRAIN_KILLS, PARALLEL_KILLS = 10, 6, 4
TRAIN = ("train", "shapes", "--budget", "30m", "--trials", "5", "--preset", "fast", "--search", "s")


def write_shapes(folder: Path, each: int) -> None:
    """Write small pictures of circles, squares and crosses at random places."""
    rng = random.Random(0)
    for label in ("circle", "square", "cross"):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            ground = tuple(rng.randrange(100) for _ in range(3))
            ink = tuple(rng.randrange(150, 256) for _ in range(3))
            picture = Image.new("RGB", (48, 48), ground)
            draw = ImageDraw.Draw(picture)
            x, y, size = rng.randrange(4, 20), rng.randrange(4, 20), rng.randrange(12, 24)
            box = (x, y, x + size, y + size)
            if label == "circle":
                draw.ellipse(box, fill=ink)
            elif label == "square":
                draw.rectangle(box, fill=ink)
            else:
                draw.line(box, fill=ink, width=4)
                draw.line((x, y + size, x + size, y), fill=ink, width=4)
            picture.save(folder / label / f"{number:03d}.png")


class Home:
    """One STRANDLINE_HOME and the commands run in it."""

    def __init__(self, root: Path) -> None:
        self.environ = {**os.environ, "STRANDLINE_HOME": str(root)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "strandline", *words],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str) -> Any:
        process = self.start(*words, "-o", "json")
        out, err = process.communicate(timeout=540)
        assert process.returncode == 0, err
        return json.loads(out)

    def kill_after(self, seconds: float, *words: str) -> bool:
        """Start the command and kill -9 its whole session; False when it was over by then."""
        process = self.start(*words)
        time.sleep(seconds)
        over = process.poll() is not None
        if not over:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return not over


def moments(count: int, longest: float) -> Sequence[float]:
    """Draw when to kill, the earliest first: a late one may find that all is done."""
    rng = random.Random(20)
    return sorted(rng.uniform(0.05, longest) for _ in range(count))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(folder, each=40)
    return folder


@dataclass(frozen=True)
class Calm:
    """What undisturbed runs printed, and how long they took."""

    imported: Any
    trained: Any
    evaluated: Any
    import_seconds: float
    train_seconds: float


@pytest.fixture(scope="module")
def calm(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Calm:
    home = Home(tmp_path_factory.mktemp("calm"))
    started = time.monotonic()
    imported = home.run("import", "shapes", str(pictures))
    between = time.monotonic()
    trained = home.run(*TRAIN)
    ended = time.monotonic()
    evaluated = home.run("evaluate", "shapes")
    return Calm(imported, trained, evaluated, between - started, ended - between)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_training_in_parallel_ends_with_a_score_inside_the_calm_ones_interval(
    pictures: Path, calm: Calm, tmp_path: Path
) -> None:
    words = (*TRAIN, "--parallelism", "2")
    hit = Home(tmp_path / "hit")
    hit.run("import", "shapes", str(pictures))
    killed = [hit.kill_after(at, *words) for at in moments(PARALLEL_KILLS, calm.train_seconds)]
    assert any(killed), "no kill came before the training was over"
    resumed = hit.run("search", "resume", "s")
    assert resumed["trials"] == calm.trained["trials"]
    expected = calm.evaluated["metrics"]["precision_at_1"]
    found = hit.run("evaluate", "shapes")["metrics"]["precision_at_1"]
    assert expected["low"] <= found["value"] <= expected["high"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_import_and_training_end_like_undisturbed_ones(
    pictures: Path, calm: Calm, tmp_path: Path
) -> None:
    hit = Home(tmp_path / "hit")
    words = ("import", "shapes", str(pictures))
    killed = [hit.kill_after(at, *words) for at in moments(IMPORT_KILLS, calm.import_seconds)]
    assert any(killed), "no kill came before the import was over"
    again = hit.run(*words)
    assert again["digest"] == calm.imported["digest"]
    assert again["items"] == calm.imported["items"]

    killed = [hit.kill_after(at, *TRAIN) for at in moments(TRAIN_KILLS, calm.train_seconds)]
    assert any(killed), "no kill came before the training was over"
    resumed = hit.run("search", "resume", "s")
    assert resumed["best"] == calm.trained["best"]
    assert resumed["trials"] == calm.trained["trials"]
