"""The one real node: containerd, kubelet, kube-proxy, and the network of its pods."""

from __future__ import annotations

import json
import socket
from typing import Any

import yaml
from tests.cluster import binaries
from tests.cluster.commands import answers
from tests.cluster.component import Component
from tests.cluster.master import Master
from tests.cluster.sandbox import Sandbox
from tests.cluster.site import NODE, Site

SOCKET = "/run/containerd/containerd.sock"  # in the cluster's own /run
PAUSE_IMAGE = "strandline.dev/pause:1"
_CNI_PLUGINS = "/usr/lib/cni"  # of Debian's containernetworking-plugins
_KUBELET_HEALTH, _PROXY_HEALTH = 10248, 10256

# Debian's default would be version 2 of this format; all else is containerd's own default.
_CONTAINERD = """\
version = 3
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE no sandbox could be given its score below that of containerd.
  restrict_oom_score_adj = true
  disable_apparmor = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{plugins}"]
  conf_dir = "{folder}/cni"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
"""


def prepare(master: Master) -> None:
    """Write the configuration of everything on the node."""
    site = master.site
    text = _CONTAINERD.format(
        folder=site.folder,
        socket=SOCKET,
        runc=binaries.path("runc"),
        plugins=_CNI_PLUGINS,
        pause=PAUSE_IMAGE,
    )
    (site.folder / "containerd.toml").write_text(text, "utf-8")
    (site.of("cni") / "10-pods.conflist").write_text(json.dumps(_pod_network(site)), "utf-8")
    (site.folder / "resolv.conf").write_text(f"nameserver {site.node}\n", "utf-8")
    for name, document in (("kubelet", _kubelet(master)), ("kube-proxy", _proxy(master))):
        (site.folder / f"{name}.yaml").write_text(yaml.safe_dump(document), "utf-8")


def components(master: Master) -> dict[str, Component]:
    """Return what runs on the node, by name, in the order in which it starts."""
    site, sandbox = master.site, master.sandbox
    containerd = [str(binaries.path("containerd")), "--config", f"{site.folder}/containerd.toml"]
    # It finds its shim by PATH.
    path = f"{binaries.path('containerd-shim-runc-v2').parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    kubelet = [str(binaries.path("kubelet")), f"--config={site.folder}/kubelet.yaml"]
    kubelet += [f"--kubeconfig={master.kubeconfig(f'system:node:{NODE}')}"]
    kubelet += [f"--root-dir={site.of('kubelet')}", f"--hostname-override={NODE}"]
    kubelet += [f"--node-ip={site.node}"]
    proxy = [str(binaries.path("kube-proxy")), f"--config={site.folder}/kube-proxy.yaml"]
    health = f"http://{site.node}:{_KUBELET_HEALTH}/healthz"
    proxy_health = f"http://{site.node}:{_PROXY_HEALTH}/livez"
    found = [
        Component("containerd", sandbox, containerd, lambda: _listens(sandbox), {"PATH": path}),
        Component("kubelet", sandbox, kubelet, lambda: answers(health)),
        Component("kube-proxy", sandbox, proxy, lambda: answers(proxy_health)),
    ]
    return {component.name: component for component in found}


def _listens(sandbox: Sandbox) -> bool:
    path = f"/proc/{sandbox.init}/root{SOCKET}"
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    except OSError:
        return False
    return True


def _pod_network(site: Site) -> dict[str, Any]:
    """Return a routed network: each pod a link of its own, and nothing passes below IP.

    On a bridge, answers between two pods would go around the packet filter, and so around
    Services and policies, unless the kernel has br_netfilter.
    """
    ipam = {
        "type": "host-local",
        "dataDir": str(site.folder / "addresses"),
        "ranges": [[{"subnet": site.pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    pods = {"type": "ptp", "mtu": 1400, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [pods]}


def _kubelet(master: Master) -> dict[str, Any]:
    site = master.site
    pair = master.authority.pair("kubelet-server")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": site.node,
        "authentication": {"x509": {"clientCAFile": str(master.authority.own.certificate)}},
        "tlsCertFile": str(pair.certificate),
        "tlsPrivateKeyFile": str(pair.key),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{site.identity}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDNS": [site.node],
        "clusterDomain": "cluster.local",
        "resolvConf": str(site.folder / "resolv.conf"),
        "podLogsDir": str(site.of("pods")),
        "volumePluginDir": str(site.of("plugins")),
        "healthzBindAddress": site.node,
        "healthzPort": _KUBELET_HEALTH,
        "maxPods": 250,
        "makeIPTablesUtilChains": False,
        # No image can be pulled again, and a developer's disk is often nearly full.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": dict.fromkeys(("imagefs.available", "nodefs.available"), "1%"),
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }


def _proxy(master: Master) -> dict[str, Any]:
    site = master.site
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(master.kubeconfig("system:kube-proxy"))},
        "clusterCIDR": site.pods,
        "hostnameOverride": NODE,
        "bindAddress": site.node,
        "healthzBindAddress": f"{site.node}:{_PROXY_HEALTH}",
        "metricsBindAddress": f"{site.node}:10249",
        # These are the whole machine's, not one network namespace's.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
