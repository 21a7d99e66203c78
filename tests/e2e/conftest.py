"""One small training through the public commands, shared by the tests that need a model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits of scikit-learn as PNG class folders."""
    folder = tmp_path_factory.mktemp("digits")
    script = ROOT / "tools" / "demo_digits.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def trained_home(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A STRANDLINE_HOME in which dataset and model `digits` are."""
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "STRANDLINE_HOME": str(home)}
    for words in (
        ["import", "digits", str(digits)],
        ["train", "digits", "--trials", "2", "--budget", "20m", "--preset", "fast"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "strandline", *words], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="session")
def trained_bundle(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that model, exported."""
    out = tmp_path_factory.mktemp("bundle")
    done = subprocess.run(
        [sys.executable, "-m", "strandline", "export", "digits", "--out", str(out)],
        env={**os.environ, "STRANDLINE_HOME": str(trained_home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[0])


@pytest.fixture(scope="session")
def one_image(digits: Path) -> Path:
    """A picture of a seven that is easy to tell."""
    return sorted((digits / "7").iterdir())[0]
