"""What all networks of cells share: logits from images, progress, an auxiliary head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from strandline.cells.family import Plan
from strandline.cells.tally import Shape
from strandline.spec.errors import InvalidSpecError
from strandline.zoo.cells.layers import AuxiliaryHead, DropPath


class CellNetwork(nn.Module):
    """Base: float32 images [n, channels_in, h, w], normalised, to logits [n, labels].

    A subclass implements `features`. Networks run in either memory format; on CPUs
    `network.to(memory_format=torch.channels_last)` is the fast one.

    Attributes:
        plan: what it was built for.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self._drops: list[DropPath] | None = None

    def set_progress(self, fraction: float) -> None:
        """Say how much of the training is over, 0 to 1: ScheduledDropPath follows it.

        A new network stands at 0, where nothing is dropped.
        """
        if not 0 <= fraction <= 1:
            raise InvalidSpecError(f"progress is {fraction}: it must lie in [0, 1]")
        if self._drops is None:  # once: this is said before every batch
            self._drops = self._find_drops()
        for drop in self._drops:
            drop.set_progress(fraction)

    def set_share(self, part: slice, images: int) -> None:
        """Say that training will give it this part of every batch of so many images."""
        for drop in self._find_drops():
            drop.share = (part, images)

    def _find_drops(self) -> list[DropPath]:
        return [module for module in self.modules() if isinstance(module, DropPath)]

    def features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the last state [n, c, h, w], and the one that the auxiliary head reads."""
        raise NotImplementedError

    def classify(self, state: Tensor) -> Tensor:
        """Return logits of the last state: its mean over positions, classified."""
        logits: Tensor = self.classifier(state.mean((2, 3)))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [n, labels]."""
        return self.classify(self.features(images)[0])

    def add_classifier(self, channels: int) -> None:
        """Add the classifier of the last state."""
        self.classifier = nn.Linear(channels, self.plan.labels)


class StackedNetwork(CellNetwork):
    """Base of networks whose cells read the two cells before them.

    A subclass implements `stem` and adds `cells`.

    Attributes:
        auxiliary_after: number of the cell that the auxiliary head reads.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.cells = nn.ModuleList()
        self.auxiliary: AuxiliaryHead | None = None
        self.auxiliary_after = -1

    def stem(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the first cell takes for the outputs of two cells before it."""
        raise NotImplementedError

    def finish(self, shapes: Sequence[Shape], auxiliary_after: int) -> None:
        """Add the heads, given the output shape of each cell."""
        self.auxiliary_after = auxiliary_after
        if self.plan.auxiliary:
            self.auxiliary = AuxiliaryHead(shapes[auxiliary_after], self.plan.labels)
        self.add_classifier(shapes[-1].channels)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        previous, current = self.stem(images)
        inner: Tensor | None = None
        for number, cell in enumerate(self.cells):
            previous, current = current, cell(previous, current)
            if number == self.auxiliary_after:
                inner = current
        return functional.relu(current), inner

    def forward_auxiliary(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and those of the auxiliary head, both [n, labels].

        Raises:
            InvalidSpecError: the plan has no auxiliary head.
        """
        if self.auxiliary is None:
            raise InvalidSpecError("the plan of this network has no auxiliary head")
        state, inner = self.features(images)
        assert inner is not None
        return self.classify(state), self.auxiliary(inner)
