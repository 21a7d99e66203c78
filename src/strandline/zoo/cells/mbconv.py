"""Mobile networks of inverted bottlenecks (arXiv 1801.04381), from a genotype and a plan."""

from __future__ import annotations

from torch import Tensor, nn

from strandline.cells.family import Candidate, Plan
from strandline.cells.mbconv import Bottleneck, MbConv, layout_of
from strandline.zoo.cells.layers import ConvNorm, DropPath, initialise
from strandline.zoo.cells.network import CellNetwork


class MbConvNetwork(CellNetwork):
    """Stem, stages and classifier; ReLU6 as in MobileNetV2."""

    def __init__(self, candidate: Candidate, plan: Plan) -> None:
        super().__init__(plan)
        MbConv().validate(candidate)
        layout = layout_of(candidate, plan)
        total = len(layout.blocks)
        blocks = [
            _Block(block, plan.drop_path * number / total)
            for number, block in enumerate(layout.blocks, 1)
        ]
        self.layers = nn.Sequential(
            ConvNorm(plan.channels_in, layout.stem, 3, layout.stem_stride),
            nn.ReLU6(inplace=True),
            *blocks,
            ConvNorm(layout.blocks[-1].channels, layout.head, 1),
            nn.ReLU6(inplace=True),
        )
        self.add_classifier(layout.head)
        initialise(self)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.layers(images), None


class _Block(nn.Module):
    def __init__(self, block: Bottleneck, drop_rate: float) -> None:
        super().__init__()
        expanded = block.expanded
        layers: list[nn.Module] = []
        if expanded != block.channels_in:
            layers += [ConvNorm(block.channels_in, expanded, 1), nn.ReLU6(inplace=True)]
        layers += [
            ConvNorm(expanded, expanded, block.kernel, block.stride, groups=expanded),
            nn.ReLU6(inplace=True),
        ]
        if block.squeezed:
            layers.append(_Excitation(expanded, block.squeezed))
        layers.append(ConvNorm(expanded, block.channels, 1))
        if drop_rate > 0 and block.residual:
            layers.append(DropPath(drop_rate))
        self.layers = nn.Sequential(*layers)
        self.residual = block.residual

    def forward(self, state: Tensor) -> Tensor:
        result: Tensor = self.layers(state)
        return state + result if self.residual else result


class _Excitation(nn.Module):
    """Scale each channel by what the means of all say (Hu et al., arXiv 1709.01507)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, state: Tensor) -> Tensor:
        scaled: Tensor = state * self.scale(state.mean((2, 3), keepdim=True))
        return scaled
