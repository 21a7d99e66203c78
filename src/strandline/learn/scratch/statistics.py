"""Statistics of batch normalisation for the weights as they are.

While a network learns fast, the running means that training leaves behind are those of weights
of some steps ago, and a score that is taken with them says little: after one epoch of a short
schedule it is near chance. Here they are taken anew over images with the weights at rest
("precise BN", Wu and Johnson 2021, arXiv 2105.07576, section 3).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def renew_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Take means and variances anew: the average over batches of images [b, 3, S, S].

    Nothing is drawn and nothing learned; the network is left as it is for scoring. Of networks
    that several processes learn together all must call.
    """
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # each batch counts the same
        norm.train()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
