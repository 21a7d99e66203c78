"""A whole cluster up and down again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import binaries, node, packages, services, site as sites
from tests.cluster.archive import write_image
from tests.cluster.component import Component
from tests.cluster.images import import_image
from tests.cluster.kubectl import Kubectl
from tests.cluster.master import Master
from tests.cluster.sandbox import Sandbox
from tests.cluster.site import NODE, Site

Report = Callable[[str], None]
_READY_SECONDS = "60s"
# Of a unix socket no more than 107 fit, and the kubelet makes some below its own folder.
_LONGEST_FOLDER = 72


class Steps:
    """Tells what takes how long, counted from its making."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step; one that fails is not told as done."""
        before = time.monotonic()
        yield
        now = time.monotonic()
        self._report(f"{now - self._started:6.1f} s  {name} ({now - before:.1f} s)")

    def tell(self, what: str) -> None:
        """Report a part of a step."""
        self._report(f"{time.monotonic() - self._started:6.1f} s    {what}")


def report_to_stderr(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def components(site: Site) -> dict[str, Component]:
    """Return everything that runs, by name, in the order in which it starts."""
    master = Master(site)
    return {**master.components(), **node.components(master), **services.components(master)}


def is_up(site: Site | None) -> bool:
    """Return whether all of a cluster runs."""
    if site is None or Sandbox(site).init is None:
        return False
    return all(component.runs for component in components(site).values())


def up(folder: Path, *, dies_with_parent: bool = False, report: Report = report_to_stderr) -> Site:
    """Start a cluster, unless it is up already; one that is half up is begun anew.

    Args:
        dies_with_parent: it ends with this process, instead of running on without it.

    Raises:
        RuntimeError: it cannot be started here, or a part does not come up.
    """
    site = sites.load(folder)
    if site is not None and is_up(site):
        report(f"The cluster is up already: {folder}")
        return site
    _check_length(folder)
    down(folder)
    steps = Steps(report)
    provide(steps)
    site = sites.make(folder)
    master = Master(site)
    with steps.step("certificates and configuration"):
        master.prepare()
        node.prepare(master)
        services.prepare(master)
    with steps.step("namespaces"):
        Sandbox(site).make(dies_with_parent)
    _start(site, steps)
    return site


def _check_length(folder: Path) -> None:
    if len(str(folder)) > _LONGEST_FOLDER:
        raise RuntimeError(
            f"{folder} is too long a name for the sockets below it: name a folder of at most "
            f"{_LONGEST_FOLDER} letters with STRANDLINE_TEST_CLUSTER"
        )


def down(folder: Path) -> bool:
    """End a cluster and remove everything of it; return whether there was one."""
    site = sites.load(folder)
    if site is None:
        return False
    Sandbox(site).remove()
    return True


def provide(steps: Steps) -> None:
    """Install the packages and build the programs that a cluster needs, those that are missing.

    Raises:
        RuntimeError: it cannot be done here, or a package cannot be installed.
    """
    if os.geteuid() != 0:
        raise RuntimeError("a whole cluster needs root: namespaces, mounts and cgroups")
    packages_needed = packages.missing_packages()
    if packages_needed:
        with steps.step("system packages"):
            steps.tell(f"installing {' '.join(packages_needed)}")
            packages.install(packages_needed)
    if binaries.missing():
        with steps.step("programs"):
            steps.tell(f"building {' '.join(binaries.missing())}")
            binaries.build(report=steps.tell)


def _start(site: Site, steps: Steps) -> None:
    parts, master = components(site), Master(site)
    with steps.step("etcd, apiserver and containerd"):
        parts["containerd"].launch()
        parts["etcd"].start()
        parts["kube-apiserver"].start()
        parts["containerd"].wait()
    admin = Kubectl(master.kubeconfig("admin"))
    with steps.step("sandbox image and name server's permissions"):
        admin.apply(*services.permissions_of_dns())
        _import_pause(site)
    with steps.step("controllers, scheduler, kubelet, proxy and servers"):
        services.make_database_folder(site)
        services.make_store_folder(site)
        rest = [part for part in parts.values() if not part.runs]
        _start_all(rest)
    with steps.step("node ready"):
        admin("wait", "--for=create", f"node/{NODE}", f"--timeout={_READY_SECONDS}")
        condition = ("--for=condition=Ready", f"node/{NODE}", f"--timeout={_READY_SECONDS}")
        admin("wait", *condition)
        admin("wait", "--for=create", "serviceaccount/default", f"--timeout={_READY_SECONDS}")


def _start_all(parts: Iterable[Component]) -> None:
    parts = list(parts)
    for part in parts:
        part.launch()
    for part in parts:
        part.wait()


def _import_pause(site: Site) -> None:
    files = {"pause": binaries.path("pause")}
    config = {"Entrypoint": ["/pause"], "User": "65535:65535"}
    archive = write_image(site.folder / "pause.tar", node.PAUSE_IMAGE, files, config=config)
    import_image(site, archive)
