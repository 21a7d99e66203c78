"""Where one cluster lives: its folder, its addresses and its secrets, kept in a file.

`STRANDLINE_TEST_CLUSTER` names the folder; clusters in different folders do not meet.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import secrets
import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.cluster.binaries import cache_folder

NODE = "strandline-node"
_FILE = "site.json"
# Unlikely to be anybody's: those below are docker's, kind's and the clouds' habits.
_CANDIDATES = range(213, 250)


@dataclass(frozen=True, slots=True)
class Site:
    """What a cluster is made from; written once, read by every command after that.

    Attributes:
        prefix: the first two numbers of all its addresses.
        s3_keys: access key and secret key.
    """

    folder: Path
    prefix: str
    s3_keys: tuple[str, str] = field(
        default_factory=lambda: (secrets.token_hex(10), secrets.token_hex(20))
    )
    postgres_password: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def identity(self) -> str:
        """Return what tells its links and cgroups from those of other clusters."""
        return "sl" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def node(self) -> str:
        """Return the address of the node, on which every server listens."""
        return f"{self.prefix}.255.2"

    @property
    def host(self) -> str:
        """Return the address of the machine itself, as the node and the pods see it."""
        return f"{self.prefix}.255.1"

    @property
    def network(self) -> str:
        """Return all its addresses, for the machine's one route."""
        return f"{self.prefix}.0.0/16"

    @property
    def pods(self) -> str:
        """Return the addresses of pods."""
        return f"{self.prefix}.0.0/20"

    @property
    def services(self) -> str:
        """Return the addresses of Services."""
        return f"{self.prefix}.16.0/20"

    @property
    def first_service(self) -> str:
        """Return the address of the Service `kubernetes`."""
        return f"{self.prefix}.16.1"

    def of(self, *parts: str) -> Path:
        """Return a folder of the cluster's, made if need be."""
        target = self.folder.joinpath(*parts)
        target.mkdir(parents=True, exist_ok=True)
        return target

    def save(self) -> None:
        """Write it to its folder, readable by its owner alone."""
        target = self.folder / _FILE
        target.touch(mode=0o600)
        document = asdict(self)
        del document["folder"]
        target.write_text(json.dumps(document, indent=1), "utf-8")


def site_folder() -> Path:
    """Return the folder of the cluster that is meant."""
    named = os.environ.get("STRANDLINE_TEST_CLUSTER")
    return Path(named).absolute() if named else cache_folder() / "cluster"


def load(folder: Path) -> Site | None:
    """Return the cluster of a folder; None where there is none."""
    try:
        document = json.loads((folder / _FILE).read_text("utf-8"))
    except FileNotFoundError:
        return None
    document["s3_keys"] = tuple(document["s3_keys"])
    return Site(folder=folder, **document)


def make(folder: Path) -> Site:
    """Make a new one, on addresses that no route of this machine leads to.

    Raises:
        RuntimeError: there are none.
    """
    for second in _CANDIDATES:
        site = Site(folder, f"10.{second}")
        if not any(ipaddress.ip_network(site.network).overlaps(taken) for taken in _routes()):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            site.save()
            return site
    raise RuntimeError("every network from 10.213.0.0/16 to 10.249.0.0/16 is in use")


def _routes() -> list[ipaddress.IPv4Network]:
    command = ["ip", "-json", "-4", "route", "show", "table", "all"]
    done = subprocess.run(command, check=True, capture_output=True)
    found = [route["dst"] for route in json.loads(done.stdout or "[]")]
    return [ipaddress.IPv4Network(each, strict=False) for each in found if each[0].isdigit()]
