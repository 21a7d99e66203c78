"""Where the apiserver is and who we are there.

The order is that of client-go's tools: a kubeconfig that is named, `KUBECONFIG`, the pod's
own service account, `~/.kube/config`. The official client reads all of them, runs credential
plugins, and reads a rotated token again; we only take its settings.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.utils.keepalive import tcp_keepalive_socket_options

from strandline.spec.errors import InvalidSpecError

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_HOME_CONFIG = Path("~/.kube/config")
_CONNECTIONS = 32
# An idle watch of a host that vanished is noticed in about a minute.
_KEEPALIVE = {"idle": 30, "interval": 10, "count": 3}


def load_configuration(
    kubeconfig: Path | None = None, context: str | None = None
) -> tuple[Configuration, str]:
    """Return the client's configuration and the namespace of whoever asks.

    Raises:
        InvalidSpecError: no configuration can be found, or it cannot be read.
    """
    configuration: Any = Configuration()
    try:
        namespace = _load(configuration, kubeconfig, context)
    except (ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        raise InvalidSpecError(f"cannot connect to a cluster: {error}") from error
    configuration.retries = False  # every retry is ours: bounded, with jitter, and counted
    configuration.connection_pool_maxsize = _CONNECTIONS
    configuration.socket_options = tcp_keepalive_socket_options(**_KEEPALIVE)
    return configuration, namespace


def _load(configuration: Any, kubeconfig: Path | None, context: str | None) -> str:
    named = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG", "")
    if not named and "KUBERNETES_SERVICE_HOST" in os.environ:
        load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        return _POD_NAMESPACE.read_text().strip()
    named = named or str(_HOME_CONFIG.expanduser())
    if not any(Path(each).exists() for each in named.split(os.pathsep)):
        raise ConfigException(
            f"there is no kubeconfig {named}: name yours with --kubeconfig or KUBECONFIG"
        )
    load_kube_config(named, context, configuration, persist_config=False)  # type: ignore[no-untyped-call]
    return _namespace_of(named, context)


def _namespace_of(kubeconfig: str, context: str | None) -> str:
    """Return the namespace of the context in use; the first file that names it counts."""
    for name in filter(None, kubeconfig.split(os.pathsep)):
        path = Path(name)
        document = yaml.safe_load(path.read_text()) if path.exists() else None
        context = context or (document or {}).get("current-context")
        for each in (document or {}).get("contexts") or ():
            if each["name"] == context:
                return str((each.get("context") or {}).get("namespace") or "default")
    return "default"
