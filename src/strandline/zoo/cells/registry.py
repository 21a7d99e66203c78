"""Which network belongs to which architecture space: one line each."""

from __future__ import annotations

from importlib import import_module

from strandline.cells.family import Candidate, Plan
from strandline.cells.registry import family
from strandline.spec.errors import InvalidSpecError
from strandline.zoo.cells.network import CellNetwork

NETWORKS = {
    "nasbench201": "strandline.zoo.cells.nasbench201:NasBench201Network",
    "nasnet": "strandline.zoo.cells.nasnet:NasNetNetwork",
    "darts": "strandline.zoo.cells.darts:DartsNetwork",
    "mbconv": "strandline.zoo.cells.mbconv:MbConvNetwork",
}


MIXABLE = ("nasbench201", "darts")
"""Spaces whose operations can all stand in one network, each with a weight."""


def build_network(family_name: str, candidate: Candidate, plan: Plan) -> CellNetwork:
    """Build the network that a candidate of a space describes, with fresh weights.

    Weights come from torch's own generator: seed it for the same network again.

    Raises:
        InvalidSpecError: no such space, or the candidate is none of it.
    """
    family(family_name).validate(candidate)
    return _build(family_name, candidate, plan)


def build_mixture(family_name: str, plan: Plan) -> CellNetwork:
    """Build the network of all cells of a space, with fresh weights: each step has its gate.

    Raises:
        InvalidSpecError: the cells of the space differ in more than operations that add up.
    """
    if family_name not in MIXABLE:
        raise InvalidSpecError(
            f"cells of {family_name} differ in the widths of their states, so that no one "
            f"network mixes them all: choose {' or '.join(MIXABLE)}, or draw cells one by one"
        )
    return _build(family_name, None, plan)


def _build(family_name: str, candidate: Candidate | None, plan: Plan) -> CellNetwork:
    module, _, attribute = NETWORKS[family_name].partition(":")
    made: CellNetwork = getattr(import_module(module), attribute)(candidate, plan)
    return made
