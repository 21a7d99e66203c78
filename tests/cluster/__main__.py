"""`python -m tests.cluster build | up | down | status`: what `make cluster-up` and so on call.

`build` provides what `up` would: packages of the system and programs. It starts nothing.
"""

from __future__ import annotations

import argparse
import sys

from tests.cluster import lifecycle, services
from tests.cluster.kubectl import Kubectl, KubectlError
from tests.cluster.master import Master
from tests.cluster.site import Site, load, site_folder


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("action", choices=("build", "up", "down", "status"))
    action = parser.parse_args().action
    try:
        return {"build": _build, "up": _up, "down": _down, "status": _status}[action]()
    except RuntimeError as error:
        print(f"{error}\nLogs, if any: {site_folder()}/logs", file=sys.stderr)
        return 1


def _build() -> int:
    lifecycle.provide(lifecycle.Steps(lifecycle.report_to_stderr))
    return 0


def _up() -> int:
    _tell(lifecycle.up(site_folder()))
    return 0


def _down() -> int:
    was_up = lifecycle.down(site_folder())
    print("The cluster is gone." if was_up else "There is no cluster.")
    return 0


def _status() -> int:
    site = load(site_folder())
    if site is None:
        print("There is no cluster: `make cluster-up` starts one.")
        return 1
    parts = lifecycle.components(site).values()
    for part in parts:
        state = "down" if not part.runs else "up" if part.answers() else "runs, no answer"
        print(f"{part.name:24} {state}")
    try:
        print(Kubectl(Master(site).kubeconfig("admin"))("get", "nodes", timeout=20), end="")
    except KubectlError as error:
        print(error)
    _tell(site)
    return 0 if lifecycle.is_up(site) else 1


def _tell(site: Site) -> None:
    s3 = services.s3_server(site)
    print(f"export KUBECONFIG={Master(site).kubeconfig('admin')}")
    print(f"# S3 at http://{s3.endpoint}, PostgreSQL at {site.node}:5432; keys in {site.folder}")


if __name__ == "__main__":
    sys.exit(main())
