"""Which network belongs to which architecture space: one line each."""

from __future__ import annotations

from importlib import import_module

from strandline.cells.family import Candidate, Plan
from strandline.cells.registry import family
from strandline.zoo.cells.network import CellNetwork

NETWORKS = {
    "nasbench201": "strandline.zoo.cells.nasbench201:NasBench201Network",
    "nasnet": "strandline.zoo.cells.nasnet:NasNetNetwork",
    "darts": "strandline.zoo.cells.darts:DartsNetwork",
    "mbconv": "strandline.zoo.cells.mbconv:MbConvNetwork",
}


def build_network(family_name: str, candidate: Candidate, plan: Plan) -> CellNetwork:
    """Build the network that a candidate of a space describes, with fresh weights.

    Weights come from torch's own generator: seed it for the same network again.

    Raises:
        InvalidSpecError: no such space, or the candidate is none of it.
    """
    family(family_name).validate(candidate)
    module, _, attribute = NETWORKS[family_name].partition(":")
    made: CellNetwork = getattr(import_module(module), attribute)(candidate, plan)
    return made
