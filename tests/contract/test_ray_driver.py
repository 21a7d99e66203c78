"""A process that searches on Ray of its own: silent, and nothing left of it afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.servers.ray import SOON_GONE

pytestmark = pytest.mark.slow

DRIVER = """
import sys
from pathlib import Path
from strandline.adapters.ray_tune import RayTuneRunner
from strandline.ports import Resources
from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials

runs, folder, *actions = sys.argv[1:]
source = ScriptedSource([{"do": action, "folder": folder} for action in actions])
RayTuneRunner(Path(runs)).run(source, ScriptedTrials, Resources(), 1)
assert sorted(source.ended) == list(range(len(actions)))
"""
PATIENCE_SECONDS = 120.0


class Machine:
    """Starts drivers that share a folder for temporary files, and finds what is left of them."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self.root = root
        self.temporary = temporary
        self.mark = uuid.uuid4().hex
        self.begun = root / "begun"
        self.begun.mkdir()
        self.drivers: list[subprocess.Popen[str]] = []

    def start(self, *actions: str) -> subprocess.Popen[str]:
        """Start a driver in a session of its own."""
        environ = {
            **os.environ,
            **SOON_GONE,
            "TMPDIR": str(self.temporary),
            "STRANDLINE_TEST_MARK": self.mark,
        }
        words = [sys.executable, "-c", DRIVER, str(self.root / "runs"), str(self.begun), *actions]
        driver = subprocess.Popen(
            words,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.drivers.append(driver)
        return driver

    def end(self) -> None:
        """End what a failed test left, or others find it."""
        for driver in self.drivers:
            if driver.poll() is None:
                driver.kill()
                driver.communicate()

    def start_step(self) -> subprocess.Popen[str]:
        """Start a driver and return when its trial is in the middle of a step."""
        driver = self.start("sleep")
        wait_until(lambda: any(self.begun.iterdir()) or driver.poll() is not None)
        assert driver.poll() is None, driver.communicate()[1]
        return driver

    def processes(self) -> Sequence[str]:
        """Return the command lines of all processes that came of the drivers."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [line for line in found if line.strip()]  # a zombie has none

    def leftovers(self) -> Sequence[str]:
        """Return the names of what is left among the temporary files."""
        return [path.name for path in self.temporary.iterdir()]


def wait_until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    # Not below tmp_path: the paths of Ray's sockets must stay under 107 bytes.
    temporary = Path(tempfile.mkdtemp(prefix="s-"))
    made = Machine(tmp_path, temporary)
    yield made
    made.end()
    shutil.rmtree(temporary)


def test_a_killed_driver_leaves_a_folder_that_the_next_one_sweeps(machine: Machine) -> None:
    killed = machine.start_step()
    killed.kill()
    killed.communicate()
    wait_until(lambda: not machine.processes())
    assert [name.startswith("strandline-ray-") for name in machine.leftovers()] == [True]

    following = machine.start("nothing", "kill", "nothing")
    out, err = following.communicate(timeout=PATIENCE_SECONDS)
    assert (following.returncode, out, err) == (0, "", "")
    wait_until(lambda: not machine.processes())  # the kernel takes a moment for the last ones
    assert machine.leftovers() == []


def test_an_interrupted_driver_leaves_nothing(machine: Machine) -> None:
    driver = machine.start_step()
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode not in (0, -signal.SIGKILL)
    wait_until(lambda: not machine.processes())
    assert machine.leftovers() == []
