"""What every pod of the chart has to obey, as checks that return what is wrong.

The first is Pod Security's level `restricted` as Kubernetes publishes it; a real apiserver
checks the same in tests/deploy/test_chart_on_apiserver.py. The others are ours.
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Spec = Mapping[str, Any]

_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}


def containers(spec: Spec) -> Iterator[Spec]:
    """Iterate over all containers."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind, [])


def breaches_of_restricted(spec: Spec) -> Iterator[str]:
    """Tell what Pod Security's level `restricted` forbids."""
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield name
    for volume in spec.get("volumes", []):
        if not (set(volume) - {"name"}) <= _VOLUMES:
            yield f"volume {volume}"
    for container in containers(spec):
        for breach in _breaches_of_container(spec.get("securityContext", {}), container):
            yield f"{container['name']}: {breach}"


def _breaches_of_container(pod: Spec, container: Spec) -> Iterator[str]:
    own = container.get("securityContext", {})
    merged = {**pod, **own}
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "hostPort"
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if merged.get("runAsNonRoot") is not True or merged.get("runAsUser", 1) == 0:
        yield "may run as root"
    if merged.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield "keeps capabilities"
    if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
        yield "adds capabilities"


def breaches_of_ours(spec: Spec) -> Iterator[str]:
    """Tell what we ask of a pod besides."""
    if spec.get("enableServiceLinks") is not False:
        yield "environment variables of other people's Services"
    yield from _volumes_and_mounts(spec)
    for container in containers(spec):
        name, own = container["name"], container.get("securityContext", {})
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: writable root file system"
        requests = container.get("resources", {}).get("requests", {})
        limits = container.get("resources", {}).get("limits", {})
        for amount in ("cpu", "memory", "ephemeral-storage"):
            if amount not in requests:
                yield f"{name}: does not request {amount}"
        for amount in ("memory", "ephemeral-storage"):
            if amount not in limits:
                yield f"{name}: no limit of {amount}"
        if container.get("terminationMessagePolicy") is None:
            yield f"{name}: its last words are lost"
        for variable in container.get("env", []):
            if _is_secret(variable["name"]) and "value" in variable:
                yield f"{name}: {variable['name']} stands in the manifest"


def missing_probes(spec: Spec) -> Iterator[str]:
    """Tell what Kubernetes cannot know of a server."""
    for container in spec["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"{container['name']}: no {probe}"


def _volumes_and_mounts(spec: Spec) -> Iterator[str]:
    volumes = [volume["name"] for volume in spec.get("volumes", [])]
    # Those of a claim template are added by the StatefulSet.
    mounts = {m["name"] for c in containers(spec) for m in c.get("volumeMounts", [])}
    if len(volumes) != len(set(volumes)):
        yield f"a volume twice: {volumes}"
    if unused := set(volumes) - mounts:
        yield f"volumes nobody mounts: {unused}"
    if absent := mounts - set(volumes) - {"data"}:
        yield f"mounts of no volume: {absent}"


def _is_secret(variable: str) -> bool:
    words = ("PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY", "CATALOG")
    # A path, a mode or the name of a schema is no secret.
    plain = variable.endswith(("_FILE", "_SCHEMA", "_MODE"))
    return any(word in variable for word in words) and not plain
