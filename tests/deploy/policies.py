"""A solver for NetworkPolicies: may this pod reach that one?

The test cluster's network may not enforce policies, and where one is enforced a test sees
only the connections it tries. Here every pair of pods is decided by the definition
(https://kubernetes.io/docs/concepts/services-networking/network-policies/): what selects a
pod isolates it in the directions it names, and then only what one of them allows passes;
a connection needs both ends' consent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Document = Mapping[str, Any]
NAME_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class End:
    """A pod, or an address outside the cluster.

    Attributes:
        namespace: None for an address.
    """

    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = "10.0.0.1"


def allowed(
    policies: Sequence[Document], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether a connection passes."""
    return _passes(policies, "Egress", source, target, port, protocol) and _passes(
        policies, "Ingress", target, source, port, protocol
    )


def selecting(policies: Sequence[Document], pod: End, direction: str) -> list[Document]:
    """Return the policies that isolate a pod in a direction."""
    return [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and direction in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], pod.labels)
    ]


def matches(selector: Document, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector takes these labels."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions", []))


def _holds(expression: Document, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise ValueError(f"no operator {expression['operator']}")


def _passes(
    policies: Sequence[Document], direction: str, own: End, other: End, port: int, protocol: str
) -> bool:
    if own.namespace is None:
        return True
    found = selecting(policies, own, direction)
    if not found:
        return True
    key, peers = ("egress", "to") if direction == "Egress" else ("ingress", "from")
    return any(
        _takes_port(rule, port, protocol) and _takes_peer(rule.get(peers), own, other)
        for policy in found
        for rule in policy["spec"].get(key) or []
    )


def _takes_port(rule: Document, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == protocol and each.get("port", port) == port for each in ports
    )


def _takes_peer(peers: Sequence[Document] | None, own: End, other: End) -> bool:
    return not peers or any(_is_peer(peer, own, other) for peer in peers)


def _is_peer(peer: Document, own: End, other: End) -> bool:
    block = peer.get("ipBlock")
    if block is not None:
        address = ip_address(other.address)
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(each) for each in block.get("except", [])
        )
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], {NAME_LABEL: other.namespace}):
            return False
    elif other.namespace != own.namespace:
        return False
    return matches(peer.get("podSelector", {}), other.labels)
