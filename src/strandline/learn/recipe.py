"""What a candidate of the transfer space means: its parameters, read once into types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from strandline.learn.heads.registry import HeadChoice
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar
from strandline.zoo.backbones import describe_backbone
from strandline.zoo.extractor import FeaturePart

JOIN = "+"
FINETUNE = "finetune"  # the head that is no function of frozen features
_STRIDE = 32


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to turn images into logits.

    Attributes:
        parts: the backbones, whose features stand side by side.
        each_view: train on every view of an image; False trains on their mean. Scoring
            always uses the mean.
        choice: the head.
    """

    parts: tuple[FeaturePart, ...]
    each_view: bool
    choice: HeadChoice


def read_candidate(candidate: Mapping[str, Scalar], cache_dir: Path) -> Recipe:
    """Return what `candidate` means.

    Raises:
        InvalidSpecError: a parameter is missing or makes no sense.
        MissingExtraError, UnavailableError: a backbone's weights cannot be had.
    """
    try:
        head = str(candidate["head"])
        return Recipe(
            parts=read_parts(candidate, cache_dir),
            each_view=candidate.get("view_training") == "each",
            choice=HeadChoice(
                head=head,
                scaling="standard" if head == FINETUNE else str(candidate["scaling"]),
                class_weight=str(candidate["class_weight"]),
                params=_params_of(candidate, head),
            ),
        )
    except KeyError as error:
        raise InvalidSpecError(f"the candidate lacks parameter {error}") from error


def read_parts(candidate: Mapping[str, Scalar], cache_dir: Path) -> tuple[FeaturePart, ...]:
    """Return the backbones of a candidate with their resolutions and views.

    Raises:
        as `read_candidate`.
    """
    scale, views = candidate["resolution"], candidate["views"]
    if not isinstance(scale, int | float) or not isinstance(views, int):
        raise InvalidSpecError("resolution and views of a candidate are numbers")
    return tuple(
        FeaturePart(
            name,
            scaled_resolution(describe_backbone(name, cache_dir).native_resolution, scale),
            views,
        )
        for name in _backbones(candidate)
    )


def _backbones(candidate: Mapping[str, Scalar]) -> list[str]:
    if candidate["head"] == FINETUNE:
        return [str(candidate[f"{FINETUNE}.backbone"])]
    return str(candidate["backbones"]).split(JOIN)


def scaled_resolution(native: int, scale: float) -> int:
    """Return the side in pixels; other than native ones are whole multiples of the stride."""
    return native if scale == 1 else max(_STRIDE, round(native * scale / _STRIDE) * _STRIDE)


def _params_of(candidate: Mapping[str, Scalar], head: str) -> dict[str, Scalar]:
    prefix = f"{head}."
    return {
        name.removeprefix(prefix): value
        for name, value in candidate.items()
        if name.startswith(prefix)
    }
