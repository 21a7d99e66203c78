"""Cross-field rules, written once and checked twice.

A rule holds the CEL expression that an apiserver evaluates and the same check in
Python. `make verify` and a property test keep the two from drifting apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """One cross-field rule of a schema object.

    Attributes:
        cel: Common Expression Language text over `self` (Kubernetes
            `x-kubernetes-validations`).
        holds: the same check on the parsed model.
        message: what is wrong and how to mend it.
    """

    cel: str
    holds: Callable[[Any], bool]
    message: str
