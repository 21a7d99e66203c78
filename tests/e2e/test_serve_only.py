"""`pip install .[serve]` in a clean environment predicts, with neither torch nor ray."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_serve_extra_alone_predicts_from_a_bundle(
    trained_bundle: Path, one_image: Path, tmp_path: Path
) -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv is not in the environment")
    env = {**os.environ, "VIRTUAL_ENV": str(tmp_path / "venv")}
    subprocess.run([uv, "venv", "-q", str(tmp_path / "venv")], check=True, env=env)
    locked = ["-c", str(ROOT / "requirements.lock")]
    install = [uv, "pip", "install", "-q", f"{ROOT}[serve]", *locked]
    done = subprocess.run(install, env=env, capture_output=True, text=True)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"the packages cannot be installed here: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr

    python = tmp_path / "venv" / "bin" / "python"
    present = "import importlib.util as u; print([u.find_spec(n) is None for n in ('torch','ray')])"
    found = subprocess.run([python, "-c", present], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[True, True]"

    strandline = tmp_path / "venv" / "bin" / "strandline"
    predicted = subprocess.run(
        [strandline, "predict", str(trained_bundle), str(one_image), "-o", "json"],
        env={**env, "STRANDLINE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    (result,) = json.loads(predicted.stdout)
    assert result["error"] is None
    assert result["predictions"][0]["label"] == one_image.parent.name
