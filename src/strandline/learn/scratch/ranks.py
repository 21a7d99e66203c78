"""Processes that learn one network together, each from its share of every batch.

What they do together is what one process would do alone, up to the rounding of sums: every
step is of the same images, which are shared out; gradients and the statistics of
normalisation are those of the whole batch. So how many take part may change from epoch to
epoch, as workers come and go, and the network that comes of it does not depend on that.

Whoever starts the processes sets up `torch.distributed` in them, with these ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that learn together.

    Attributes:
        rank: 0, 1, …
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def share(self, images: int) -> slice:
        """Return which of so many images in a row are this process's.

        Shares differ by one image at most; each image is in exactly one.
        """
        return slice(self.rank * images // self.count, (self.rank + 1) * images // self.count)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace the tensor by its sum over all processes, and return it; all must call."""
        if self.count > 1:
            from torch import distributed

            distributed.all_reduce(tensor)
        return tensor


ALONE = Ranks()
