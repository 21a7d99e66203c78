"""Weights that all networks of an architecture space share.

Two networks with the same operation at the same place, reading the same state, use the
same weights for it, whatever else differs (Pham et al. 2018, arXiv 1802.03268, section
2.2). There is no large network that holds all of them: a child is built from its genotype
as ever, and its tensors are then those of the bank. What no child has used yet does not exist.

The name of an entry is the tensor's name in the network and its shape: layers that fit states
of other widths are not the same. A step's tensors are named by place, source and operation, so
that they are the same wherever a network keeps the step: a child among its few, a mixture
among all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from strandline.spec.errors import CorruptArtifactError
from strandline.zoo.cells.layers import Step

_WEIGHT, _VELOCITY = "shared/", "velocity/"
# Behind it come the steps of a cell.
_STEPS = ".steps."


class WeightBank:
    """Tensors by name, with the optimizer's velocity of those that learned.

    Children only borrow: what an optimizer changes in one has changed here.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._velocities: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._tensors)

    def lend(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Make the bank's tensors those of the network; new ones come from the network.

        Networks that share a parameter add up its gradients.

        Returns:
            Its parameters, by name of the entry.
        """
        lent: dict[str, nn.Parameter] = {}
        for name, module, attribute, tensor in _entries(network):
            kept = self._tensors.setdefault(name, tensor)
            own = module._parameters.get(attribute)
            if own is None:
                module._buffers[attribute] = kept
                continue
            shared = kept if isinstance(kept, nn.Parameter) else nn.Parameter(kept)
            # Whether it learns is the network's to say.
            shared.requires_grad_(own.requires_grad)
            self._tensors[name] = module._parameters[attribute] = lent[name] = shared
        return lent

    def lend_velocities(
        self, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> None:
        """Let an optimizer with momentum go on with the velocities of earlier children."""
        for name, parameter in parameters.items():
            found = self._velocities.setdefault(name, torch.zeros_like(parameter.data))
            optimizer.state[parameter]["momentum_buffer"] = found

    def copy_into(self, network: nn.Module) -> int:
        """Give the network copies of its entries; return how many of its tensors had none."""
        missing = 0
        for name, module, attribute, _ in _entries(network):
            if name in self._tensors:
                _replace(module, attribute, self._tensors[name].detach().clone())
            else:
                missing += 1
        return missing

    def export(self) -> dict[str, Tensor]:
        """Return all tensors by names that `take_up` understands."""
        kept = {f"{_WEIGHT}{name}": each for name, each in self._tensors.items()}
        kept |= {f"{_VELOCITY}{name}": each for name, each in self._velocities.items()}
        return {name: each.detach().cpu().contiguous() for name, each in kept.items()}

    def take_up(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Take up what `export` gave; all else is forgotten.

        Raises:
            CorruptArtifactError: a name is none of a bank.
        """
        self._tensors, self._velocities = {}, {}
        for name, each in tensors.items():
            prefix, _, rest = name.partition("/")
            kept = {_WEIGHT: self._tensors, _VELOCITY: self._velocities}.get(f"{prefix}/")
            if kept is None:
                raise CorruptArtifactError(f"{name!r} is no entry of shared weights")
            # As networks hold them, so that a resumed training computes the very same.
            images = torch.channels_last if each.ndim == 4 else torch.contiguous_format
            kept[rest] = each.to(device).contiguous(memory_format=images)


def _entries(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Yield name, module, attribute and tensor of all parameters and kept buffers."""
    kept = set(network.state_dict())
    names = {"": ""}  # by path of a module; parents come first
    for path, module in network.named_modules():
        above, _, last = path.rpartition(".")
        name = f"{names[above]}.{last}" if above else last
        if isinstance(module, Step):
            cell = path.partition(_STEPS)[0]
            name = f"{cell}[{module.source}>{module.place}:{module.operation}]"
        names[path] = name
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for attribute, tensor in own:
            if (f"{path}.{attribute}" if path else attribute) in kept:
                shape = "x".join(map(str, tensor.shape))
                yield f"{name}.{attribute}({shape})", module, attribute, tensor.data


def _replace(module: nn.Module, attribute: str, tensor: Tensor) -> None:
    if attribute in module._parameters:
        getattr(module, attribute).data = tensor
    else:
        module._buffers[attribute] = tensor
