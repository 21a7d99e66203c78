"""What the test cluster takes from the system, installed when missing (Debian, Ubuntu)."""

from __future__ import annotations

import os
import shutil
import subprocess

# What each is for is in README.md.
PACKAGES = (
    "buildah",
    "containernetworking-plugins",
    "debootstrap",
    "gcc",
    "iproute2",
    "libseccomp-dev",
    "nftables",
    "openssl",
    "pkg-config",
    "postgresql",
)


def missing_packages() -> list[str]:
    """Return those that are not installed; none where there is no dpkg to ask."""
    if shutil.which("dpkg-query") is None:
        return []
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n", *PACKAGES]
    # It fails when it knows nothing of one of them, and tells of the others all the same.
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    installed = {line[1] for line in lines if line[0] == "installed"}
    return [name for name in PACKAGES if name not in installed]


def install(packages: list[str]) -> None:
    """Install packages, quietly.

    Raises:
        RuntimeError: it failed; with what was said.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    chosen = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    for command in (["update", "-qq"], chosen):
        done = subprocess.run(["apt-get", *command], capture_output=True, text=True, env=env)
        if done.returncode:
            raise RuntimeError(f"apt-get {command[0]} failed:\n{done.stderr[-2000:]}")
