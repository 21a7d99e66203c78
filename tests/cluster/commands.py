"""How the parts of a control plane are called, on loopback as in the whole cluster."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import binaries
from tests.cluster.certificates import Authority, Pair

_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
"""
_AUDIT_LOG_MB = 10_000
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Return it as the start of an URL."""
        return f"https://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Etcd:
    """An etcd of one member, for whoever holds a certificate of its own authority."""

    address: Address
    peer: Address
    authority: Authority
    pair: Pair
    data: Path

    @classmethod
    def make(cls, folder: Path, host: str, port: int, peer_port: int) -> Etcd:
        """Make its certificates; its data will be in `folder` too."""
        authority = Authority.make(folder / "etcd-pki", "etcd")
        pair = authority.issue("etcd", hosts=f"IP:{host}")
        return cls(Address(host, port), Address(host, peer_port), authority, pair, folder / "etcd")

    def command(self) -> list[str]:
        """Return how it is called."""
        own, trusted = self.pair, str(self.authority.own.certificate)
        # A machine that loses its power loses the tests as well: nothing need be flushed.
        command = [str(binaries.path("etcd")), "--unsafe-no-fsync", "--log-level=warn"]
        command += [f"--data-dir={self.data}", "--name=only"]
        command += [f"--initial-cluster=only={self.peer.url}"]
        command += [f"--initial-advertise-peer-urls={self.peer.url}"]
        command += [f"--listen-peer-urls={self.peer.url}"]
        command += [f"--listen-client-urls={self.address.url}"]
        command += [f"--advertise-client-urls={self.address.url}"]
        for kind in ("", "peer-"):
            command += [f"--{kind}cert-file={own.certificate}", f"--{kind}key-file={own.key}"]
            command += [f"--{kind}trusted-ca-file={trusted}", f"--{kind}client-cert-auth"]
        return command

    def answers(self) -> bool:
        """Return whether it serves."""
        return answers(f"{self.address.url}/health", self.authority.trust(self.pair))

    def revision(self) -> int:
        """Return the revision of the newest write."""
        reply = self._call("kv/range", {"key": "AA==", "limit": "1"})
        return int(reply["header"]["revision"])

    def compact(self) -> int:
        """Forget all but the newest revision, which is returned.

        Whoever watches from an older one is told 410 Gone when the apiserver has to ask
        here; its own watch cache may still know.
        """
        revision = self.revision()
        self._call("kv/compaction", {"revision": str(revision), "physical": True})
        return revision

    def _call(self, path: str, body: dict[str, Any]) -> Any:
        url = f"{self.address.url}/v3/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        context = self.authority.trust(self.pair)
        with urllib.request.urlopen(request, context=context, timeout=30) as reply:
            return json.load(reply)


@dataclass(frozen=True, slots=True)
class Apiserver:
    """An apiserver.

    Attributes:
        extra: further flags.
        audit_log: a line of JSON for each request, if any.
    """

    address: Address
    authority: Authority
    pair: Pair
    signing_key: Path
    etcd: Etcd
    services: str
    audit_log: Path | None = None
    extra: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return how it is called."""
        etcd = self.etcd
        command = [str(binaries.path("kube-apiserver")), "--authorization-mode=Node,RBAC"]
        command += [f"--etcd-servers={etcd.address.url}", f"--etcd-keyfile={etcd.pair.key}"]
        command += [f"--etcd-cafile={etcd.authority.own.certificate}"]
        command += [f"--etcd-certfile={etcd.pair.certificate}"]
        command += [f"--bind-address={self.address.host}", f"--secure-port={self.address.port}"]
        for name in ("advertise-address", "external-hostname"):
            command += [f"--{name}={self.address.host}"]
        command += [f"--tls-cert-file={self.pair.certificate}"]
        command += [f"--tls-private-key-file={self.pair.key}"]
        command += [f"--client-ca-file={self.authority.own.certificate}"]
        command += [f"--service-account-key-file={self.signing_key}"]
        command += [f"--service-account-signing-key-file={self.signing_key}"]
        command += ["--service-account-issuer=https://kubernetes.default.svc"]
        command += [f"--service-cluster-ip-range={self.services}", "--profiling=false"]
        return [*command, *self._audit(), *self.extra]

    def answers(self) -> bool:
        """Return whether it serves, with everything it makes for itself at its start."""
        return answers(f"{self.address.url}/readyz", self.authority.trust())

    def _audit(self) -> list[str]:
        if self.audit_log is None:
            return []
        policy = self.authority.folder / "audit-policy.yaml"
        policy.write_text(_AUDIT_POLICY, "utf-8")
        return [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
            # Who reads it goes on where the last reading ended: no new file after 100 MB.
            f"--audit-log-maxsize={_AUDIT_LOG_MB}",
        ]


@dataclass(frozen=True, slots=True)
class ControllerManager:
    """A controller manager.

    Attributes:
        kubeconfig: of a certificate for `system:kube-controller-manager`.
        controllers: by name; `*` is all that are on by default.
    """

    address: Address
    kubeconfig: Path
    authority: Authority
    signing_key: Path
    controllers: tuple[str, ...] = ("*",)
    extra: tuple[str, ...] = ()

    def command(self) -> list[str]:
        """Return how it is called."""
        own = self.authority.own
        command = [str(binaries.path("kube-controller-manager")), "--leader-elect=false"]
        for purpose in ("", "authentication-", "authorization-"):
            command += [f"--{purpose}kubeconfig={self.kubeconfig}"]
        command += [f"--bind-address={self.address.host}", f"--secure-port={self.address.port}"]
        command += [f"--root-ca-file={own.certificate}", "--profiling=false"]
        command += [f"--cluster-signing-cert-file={own.certificate}"]
        command += [f"--cluster-signing-key-file={own.key}"]
        command += [f"--service-account-private-key-file={self.signing_key}"]
        command += ["--use-service-account-credentials=true"]
        return [*command, f"--controllers={','.join(self.controllers)}", *self.extra]

    def answers(self) -> bool:
        """Return whether it serves; its certificate is its own, so that is not looked at."""
        return serves_unverified(self.address)


def answers(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Return whether a GET of the URL succeeds."""
    try:
        with urllib.request.urlopen(url, context=context, timeout=_TIMEOUT_SECONDS) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def serves_unverified(address: Address) -> bool:
    """Return whether a server that signs its certificate itself is healthy."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return answers(f"{address.url}/healthz", context)
