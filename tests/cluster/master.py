"""The control plane of a whole cluster, on the node's address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.certificates import Authority, Pair, signing_key
from tests.cluster.commands import (
    Address,
    Apiserver,
    ControllerManager,
    Etcd,
    serves_unverified,
)
from tests.cluster.component import Component
from tests.cluster.kubeconfig import write_kubeconfig
from tests.cluster.sandbox import Sandbox
from tests.cluster.site import NODE, Site

_ETCD, _ETCD_PEER, _APISERVER, _MANAGER, _SCHEDULER = 2379, 2380, 6443, 10257, 10259
ADMINISTRATORS = "system:masters"


@dataclass(frozen=True, slots=True)
class Master:
    """The certificates of a cluster, and the components that need them."""

    site: Site

    @property
    def sandbox(self) -> Sandbox:
        """Return where it runs."""
        return Sandbox(self.site)

    @property
    def authority(self) -> Authority:
        """Return who vouches for everybody in the cluster."""
        return Authority(self.site.folder / "pki")

    @property
    def url(self) -> str:
        """Return where the apiserver is, from the machine and from pods."""
        return f"https://{self.site.node}:{_APISERVER}"

    @property
    def etcd(self) -> Etcd:
        """Return the etcd."""
        folder, node = self.site.folder, self.site.node
        authority = Authority(folder / "etcd-pki")
        pair = authority.pair("etcd")
        addresses = Address(node, _ETCD), Address(node, _ETCD_PEER)
        return Etcd(*addresses, authority, pair, folder / "etcd")

    @property
    def apiserver(self) -> Apiserver:
        """Return the apiserver."""
        client = self.authority.pair("apiserver-to-kubelet")
        return Apiserver(
            address=Address(self.site.node, _APISERVER),
            authority=self.authority,
            pair=self.authority.pair("apiserver"),
            signing_key=self._signing_key,
            etcd=self.etcd,
            services=self.site.services,
            audit_log=self.site.of("logs") / "audit.log",
            extra=(
                "--allow-privileged=true",
                "--enable-admission-plugins=NodeRestriction",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-certificate-authority={self.authority.own.certificate}",
                f"--kubelet-client-certificate={client.certificate}",
                f"--kubelet-client-key={client.key}",
            ),
        )

    def prepare(self) -> None:
        """Make all certificates and kubeconfigs; once."""
        site = self.site
        Etcd.make(site.folder, site.node, _ETCD, _ETCD_PEER)
        authority = Authority.make(site.folder / "pki", "kubernetes")
        names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        hosts = [f"IP:{each}" for each in (site.node, site.first_service, "127.0.0.1")]
        hosts += [f"DNS:{each}" for each in names]
        authority.issue("apiserver", hosts=",".join(hosts))
        authority.issue("apiserver-to-kubelet", groups=(ADMINISTRATORS,))
        authority.issue("kubelet-server", common_name=NODE, hosts=f"IP:{site.node},DNS:{NODE}")
        signing_key(self._signing_key)
        self.user("admin", ADMINISTRATORS)
        self.user(f"system:node:{NODE}", "system:nodes")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns"):
            self.user(f"system:{name}")

    def user(self, name: str, *groups: str) -> Path:
        """Return the kubeconfig of a user, made now."""
        pair = self.authority.issue(_file(name), common_name=name, groups=groups)
        return self._write(name, pair)

    def kubeconfig(self, name: str) -> Path:
        """Return the kubeconfig of a user who has one."""
        return self.site.folder / f"{_file(name)}.kubeconfig"

    def components(self) -> dict[str, Component]:
        """Return what runs, by name, in the order in which it starts."""
        etcd, apiserver = self.etcd, self.apiserver
        manager = ControllerManager(
            Address(self.site.node, _MANAGER),
            self.kubeconfig("system:kube-controller-manager"),
            self.authority,
            self._signing_key,
        )
        scheduler = Address(self.site.node, _SCHEDULER)
        found = [
            Component("etcd", self.sandbox, etcd.command(), etcd.answers),
            Component("kube-apiserver", self.sandbox, apiserver.command(), apiserver.answers),
            Component("kube-controller-manager", self.sandbox, manager.command(), manager.answers),
            Component(
                "kube-scheduler",
                self.sandbox,
                self._scheduler(scheduler),
                lambda: serves_unverified(scheduler),
            ),
        ]
        return {component.name: component for component in found}

    @property
    def _signing_key(self) -> Path:
        return self.site.folder / "pki" / "service-accounts.key"

    def _scheduler(self, address: Address) -> list[str]:
        command = [str(binaries.path("kube-scheduler")), "--leader-elect=false"]
        for purpose in ("", "authentication-", "authorization-"):
            command += [f"--{purpose}kubeconfig={self.kubeconfig('system:kube-scheduler')}"]
        return [*command, f"--bind-address={address.host}", f"--secure-port={address.port}"]

    def _write(self, name: str, pair: Pair) -> Path:
        own = self.authority.own.certificate
        return write_kubeconfig(self.kubeconfig(name), self.url, own, client=pair)


def _file(name: str) -> str:
    return name.replace(":", "-")
