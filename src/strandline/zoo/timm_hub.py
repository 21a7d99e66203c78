"""Backbones of `timm`, by name from its hub or with a safetensors file at hand.

`timm:resnet18` loads ImageNet weights from the hub, which needs the network once: they
are then kept in the cache as safetensors. `timm:resnet18@weights.safetensors` reads a
file, and works offline. Neither opens a pickle.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strandline.spec.errors import (
    CorruptArtifactError,
    InvalidSpecError,
    MissingExtraError,
    NotFoundError,
    UnavailableError,
)
from strandline.spec.records import canonical_json, digest_of
from strandline.zoo.graph_cache import hash_file, write_atomically
from strandline.zoo.graphs import OPSET

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto

PREFIX = "timm:"
_NAME = re.compile(r"[A-Za-z0-9_]{1,80}(\.[A-Za-z0-9_]{1,80})?")


@dataclass(frozen=True, slots=True)
class HubModel:
    """What the registry needs to know of a timm model.

    Attributes:
        architecture: name and normalisation, for the digest.
        weights: the safetensors file.
        weights_sha256: of that file.
        resizable: it can be exported at other resolutions than its native one.
    """

    architecture: str
    weights: Path
    weights_sha256: str
    dim: int
    native_resolution: int
    resizable: bool
    source: str
    license: str


def describe(name: str, cache_dir: Path) -> HubModel:
    """Return the model's facts; torch is imported only the first time.

    Raises:
        InvalidSpecError: timm has no such model.
        NotFoundError: the weights file is not there.
        MissingExtraError: timm is not installed.
        UnavailableError: the hub does not answer, and its weights are not in the cache.
    """
    model, file = split_name(name)
    weights = file if file is not None else _fetch(model, cache_dir)
    if not weights.is_file():
        raise NotFoundError(f"{weights} is not there: {name} needs its weights in that file")
    sha256 = hash_file(weights)
    key = digest_of(canonical_json({"model": model, "weights": sha256}))
    facts = cache_dir / "graphs" / f"timm-{key.removeprefix('sha256:')[:32]}.json"
    if not facts.exists():
        write_atomically(facts, canonical_json(_examine(model)))
    return HubModel(weights=weights, weights_sha256=sha256, **_read_facts(facts))


def split_name(name: str) -> tuple[str, Path | None]:
    """Return timm's model name and the weights file of `timm:NAME[@FILE]`.

    Raises:
        InvalidSpecError: not of that form.
    """
    model, _, file = name.removeprefix(PREFIX).partition("@")
    if not _NAME.fullmatch(model):
        raise InvalidSpecError(f"{model!r} is not a timm model name, such as resnet18.a1_in1k")
    return model, Path(file).expanduser().absolute() if file else None


def export(name: str, resolution: int, cache_dir: Path) -> ModelProto:
    """Trace the model at one resolution: `pixels` [N, 3, S, S] -> `features` [N, dim].

    Raises:
        InvalidSpecError: the model takes only its native resolution.
        CorruptArtifactError: the weights do not fit the model.
    """
    facts = describe(name, cache_dir)
    if resolution != facts.native_resolution and not facts.resizable:
        raise InvalidSpecError(
            f"{name} takes images of {facts.native_resolution} pixels only, not {resolution}"
        )
    return _trace(_module(split_name(name)[0], facts.weights), resolution)


def _module(model: str, weights: Path) -> torch.nn.Module:
    """Return the model with its weights, from pixels in 0..255 to pooled features."""
    timm = _timm()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    module: torch.nn.Module = timm.create_model(model, pretrained=False, num_classes=0)
    try:
        state = load_file(weights)
        missing, _ = module.load_state_dict(state, strict=False)  # a classifier is left over
    except (SafetensorError, RuntimeError) as error:
        raise CorruptArtifactError(f"{weights} does not fit {model}: {error}") from error
    if missing:
        raise CorruptArtifactError(f"{weights} does not fit {model}: it lacks {missing[0]}")
    config = timm.data.resolve_data_config({}, model=module)
    return _with_normalisation(module.eval(), config["mean"], config["std"])


def _with_normalisation(
    module: torch.nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> torch.nn.Module:
    import torch

    class Normalised(torch.nn.Module):
        """The model behind the subtraction and division it was trained with."""

        mean: torch.Tensor
        factor: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = module
            self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1) * 255)
            self.register_buffer("factor", 1 / (torch.tensor(deviation).view(1, -1, 1, 1) * 255))

        def forward(self, pixels: torch.Tensor) -> Any:
            return self.inner((pixels - self.mean) * self.factor)

    return Normalised().eval()


def _trace(module: torch.nn.Module, resolution: int) -> ModelProto:
    import torch

    example = torch.zeros(2, 3, resolution, resolution)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's advice to its own authors
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["pixels"],
            output_names=["features"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={"pixels": {0: torch.export.Dim("N", min=1)}},
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _examine(model: str) -> dict[str, Any]:
    """Return the facts of a model that do not depend on the weights."""
    timm = _timm()
    _check_known(timm, model)
    module = timm.create_model(model, pretrained=False, num_classes=0)
    config = timm.data.resolve_data_config({}, model=module)
    pretrained = module.pretrained_cfg
    normalisation = f"mean={config['mean']} deviation={config['std']}"
    return {
        "architecture": f"timm {model} {normalisation} size={config['input_size'][-1]}",
        "dim": int(getattr(module, "head_hidden_size", None) or module.num_features),
        "native_resolution": int(config["input_size"][-1]),
        "resizable": not pretrained.get("fixed_input_size", False),
        "source": f"timm {model}",
        "license": str(pretrained.get("license") or "not stated"),
    }


def _read_facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_bytes())
    return facts


def _fetch(model: str, cache_dir: Path) -> Path:
    """Return the cached weights of a hub model, downloading them the first time."""
    path = cache_dir / "weights" / f"timm-{model}.safetensors"
    if path.exists():
        return path
    timm = _timm()
    _check_known(timm, model)
    from safetensors.torch import save

    try:
        module = timm.create_model(model, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's clients raise errors of several libraries
        raise UnavailableError(
            f"the weights of {PREFIX}{model} could not be downloaded ({type(error).__name__}): "
            f"try again online, or give a file as {PREFIX}{model}@FILE.safetensors"
        ) from error
    write_atomically(path, save({k: v.contiguous() for k, v in module.state_dict().items()}))
    return path


def _check_known(timm: Any, model: str) -> None:
    if not timm.is_model(model):
        raise InvalidSpecError(f"timm {timm.__version__} has no model {model!r}")


def _timm() -> Any:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "timm backbones need timm: run `pip install 'strandline[hub]'`"
        ) from error
    return timm
