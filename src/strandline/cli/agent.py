"""The background process of a laptop, and how commands make sure that it runs.

`python -m strandline.cli.agent` reconciles the catalog that the environment names until
nothing is left to do. `STRANDLINE_AGENT=off` keeps commands from starting it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from strandline import compose
from strandline.adapters.local_agent import LocalAgent, agent_lock, ensure_agent, owner_of
from strandline.adapters.local_jobs import LocalJobs
from strandline.cli.resource_names import shown
from strandline.compose import Platform
from strandline.control.reconcile import reconcile

AGENT_SWITCH = "STRANDLINE_AGENT"


def job_command(kind: str, name: str) -> Sequence[str]:
    """Return the command line that runs the job of one object."""
    code = "from strandline.cli.main import main; main()"
    return [sys.executable, "-c", code, "run-job", shown(kind, name)]


def start_agent(place: Platform) -> bool:
    """Start the agent of this catalog unless it runs; return whether it was started."""
    if os.environ.get(AGENT_SWITCH, "on").lower() in ("off", "0", "false", "no"):
        return False
    settings = place.settings
    command = [sys.executable, "-m", "strandline.cli.agent"]
    return ensure_agent(settings.runs_dir, owner_of(settings.catalog_url), command)


def run_agent(place: Platform) -> bool:
    """Be the agent until nothing is left to do; False when another one is at it."""
    settings = place.settings
    owner = owner_of(settings.catalog_url)
    jobs = LocalJobs(settings.runs_dir, owner, job_command, place.clock)
    agent = LocalAgent(place.catalog, jobs, reconcile, place.clock, _say)
    return agent.run(agent_lock(settings.runs_dir, owner), time.sleep)


def _say(message: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}", flush=True)


if __name__ == "__main__":
    run_agent(compose.local())
