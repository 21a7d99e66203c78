"""What the stages of a job cost that run one after the other: with a Ray each, or with one.

Run: python bench/overhead/stages.py (about two minutes; on a machine with nothing else to do).

Each stage is a run of one trial that does nothing. Both ways take turns, each time in a process
of its own; what is timed begins when Ray is imported. The first stage of either way imports Tune.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

WAYS = ("a Ray for each stage", "one Ray held")
STAGES = 3
ROUNDS = 5
LOAD_BEFORE = os.getloadavg()[0]


def run_stages(way: str) -> None:
    """Run the stages in this process; print the seconds."""
    from strandline.adapters.ray_tune import RayTuneRunner
    from strandline.ports import Resources
    from strandline.testing.scripted_trials import ScriptedSource, ScriptedTrials

    with tempfile.TemporaryDirectory() as folder:
        runner = RayTuneRunner(Path(folder))
        started = time.perf_counter()
        with runner.held(1) if way == WAYS[1] else nullcontext():
            for _ in range(STAGES):
                source = ScriptedSource([{}])
                runner.run(source, ScriptedTrials, Resources(), 1)
                assert source.ended == [0]
        print("SECONDS", time.perf_counter() - started)


def seconds_of(way: str) -> float:
    command = [sys.executable, __file__, way]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(each for each in done.stdout.splitlines() if each.startswith("SECONDS"))
    return float(line.split()[1])


def main() -> None:
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            found[way].append(seconds_of(way))
    print(f"| way | seconds of {STAGES} stages, {ROUNDS} times | median | ratio |")
    print("|---|---|---|---|")
    for way in WAYS:
        middle, first = median(found[way]), median(found[WAYS[0]])
        shown = ", ".join(f"{each:.1f}" for each in found[way])
        print(f"| {way} | {shown} | {middle:.1f} | {middle / first:.2f} |")
    print(f"\nload average before and after: {LOAD_BEFORE:.1f}, {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    if len(sys.argv) == 2:
        run_stages(sys.argv[1])
    else:
        main()
