"""A bare control plane for tests that need an API and no node: etcd and an apiserver.

    with control_plane(tmp_path) as plane:
        plane.kubectl("get", "namespaces")

It serves on loopback, RBAC decides, admission by CEL and Pod Security work. There is no
service account controller, so that plugin is off; and nothing collects garbage or ends a
namespace unless `controllers` says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.certificates import Authority, signing_key
from tests.cluster.child import Child
from tests.cluster.commands import Address, Apiserver, ControllerManager, Etcd
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.kubectl import Kubectl
from tests.servers.loopback import free_port

_HOST = "127.0.0.1"
_SERVICES = "10.0.0.0/24"
_ADMINISTRATORS = "system:masters"
_EXTRA = (
    "--disable-admission-plugins=ServiceAccount",
    "--endpoint-reconciler-type=none",
    "--allow-privileged=true",
)
GARBAGE = ("garbage-collector-controller", "namespace-controller")
"""Controllers that make owner references cascade and namespaces end."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running control plane.

    Attributes:
        kubeconfig: of an administrator.
        audit_log: one line of JSON for each finished request.
        etcd: for compaction, see `Etcd.compact`.
        apiserver: `stop`, `start` and `kill` are the faults that tests need.
    """

    folder: Path
    url: str
    kubeconfig: Path
    audit_log: Path
    etcd: Etcd
    apiserver: Child
    authority: Authority

    @property
    def kubectl(self) -> Kubectl:
        """Return kubectl as the administrator."""
        return Kubectl(self.kubeconfig)

    def user(self, name: str, *groups: str) -> Path:
        """Return the kubeconfig of a user who may do nothing yet; RBAC knows the name."""
        pair = self.authority.issue(f"user-{name}", common_name=name, groups=groups)
        target = self.folder / f"{name}.kubeconfig"
        return write_kubeconfig(target, self.url, self.authority.own.certificate, client=pair)


def programs(controllers: tuple[str, ...] = ()) -> list[str]:
    """Return the programs that this needs."""
    return [*binaries.CONTROL_PLANE, *(["kube-controller-manager"] if controllers else [])]


@contextmanager
def control_plane(folder: Path, controllers: tuple[str, ...] = ()) -> Iterator[ControlPlane]:
    """Run a control plane that keeps its files below `folder`; enter when it serves.

    Args:
        controllers: of the controller manager, which is left away without any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    etcd = Etcd.make(folder, _HOST, free_port(), free_port())
    server = _apiserver(folder, etcd)
    with ExitStack() as stack:
        # Left in reverse order: the apiserver, which hangs on when etcd is gone, goes first.
        _enter(stack, Child(etcd.command(), etcd.answers, folder / "etcd.log"))
        log = folder / "kube-apiserver.log"
        running = _enter(stack, Child(server.command(), server.answers, log))
        if controllers:
            manager = _manager(folder, server, controllers)
            log = folder / "kube-controller-manager.log"
            _enter(stack, Child(manager.command(), manager.answers, log))
        assert server.audit_log is not None
        yield ControlPlane(
            folder,
            server.address.url,
            _kubeconfig(folder, server, "admin", _ADMINISTRATORS),
            server.audit_log,
            etcd,
            running,
            server.authority,
        )


def _enter(stack: ExitStack, child: Child) -> Child:
    stack.callback(child.stop)
    child.start()
    return child


def _apiserver(folder: Path, etcd: Etcd) -> Apiserver:
    authority = Authority.make(folder / "pki", "kubernetes")
    return Apiserver(
        address=Address(_HOST, free_port()),
        authority=authority,
        pair=authority.issue("apiserver", hosts=f"IP:{_HOST},DNS:localhost"),
        signing_key=signing_key(folder / "pki" / "service-accounts.key"),
        etcd=etcd,
        services=_SERVICES,
        audit_log=folder / "audit.log",
        extra=_EXTRA,
    )


def _manager(folder: Path, server: Apiserver, controllers: tuple[str, ...]) -> ControllerManager:
    kubeconfig = _kubeconfig(folder, server, "system:kube-controller-manager")
    address = Address(_HOST, free_port())
    # Its usual 20 calls a second would be what tests of many objects measure.
    rate = ("--kube-api-qps=300", "--kube-api-burst=600")
    return ControllerManager(
        address, kubeconfig, server.authority, server.signing_key, controllers, rate
    )


def _kubeconfig(folder: Path, server: Apiserver, name: str, *groups: str) -> Path:
    pair = server.authority.issue(name.replace(":", "-"), common_name=name, groups=groups)
    target = folder / f"{name.replace(':', '-')}.kubeconfig"
    return write_kubeconfig(
        target, server.address.url, server.authority.own.certificate, client=pair
    )
