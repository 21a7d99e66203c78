"""Networks whose architecture has a gradient: every step scaled by how much it is wanted.

A step's gate is the weight of the decisions that put it there: the product over decisions,
summed over the ways it can have come there. In the network of one cell gates are 1 and carry
a gradient (Dong and Yang 2019, arXiv 1910.04465, equation 7); in a mixture they are
probabilities (Liu et al. 2019, arXiv 1806.09055, equation 2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from strandline.spec.records import Scalar
from strandline.zoo.cells.layers import Step, Way

Odds = Mapping[str, Mapping[Scalar, Tensor]]
"""Scalars by decision and value."""


def open_gates(network: nn.Module, odds: Odds) -> None:
    """Set the gates of all steps."""
    known: dict[tuple[Way, ...], Tensor] = {}
    for step in _steps(network):
        if step.ways not in known:
            known[step.ways] = _weight(step.ways, odds)
        step.gate = known[step.ways]


def fix_scales(network: nn.Module) -> None:
    """Let the normalisation in steps learn neither scale nor shift.

    They would undo what gates say (arXiv 1806.09055, section 3.1).
    """
    for step in _steps(network):
        for norm in step.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.requires_grad_(False)


def _steps(network: nn.Module) -> Iterator[Step]:
    return (each for each in network.modules() if isinstance(each, Step))


def _weight(ways: tuple[Way, ...], odds: Odds) -> Tensor:
    products = [torch.stack([odds[name][value] for name, value in way]).prod() for way in ways]
    return torch.stack(products).sum()
