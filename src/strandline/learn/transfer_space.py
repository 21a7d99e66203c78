"""The space of the `transfer` preset, and the candidates a search tries first.

Nearly all time goes into embeddings, which candidates share: those that need none that is
not there yet cost a second, others minutes. So the first candidates form a ladder, from a
baseline that is there at once to what tends to win, and a candidate that would not end in
time is left out (see `cost`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from strandline.learn import finetune
from strandline.learn.heads.registry import CLASS_WEIGHTS, find_head
from strandline.learn.heads.scaling import KINDS
from strandline.learn.recipe import FINETUNE, JOIN
from strandline.search.space import Categorical, Condition, Parameter, Space, candidate_key
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar, Task
from strandline.zoo.efficientnet_lite import VARIANTS

# What each effort adds to the space: heads, views and resolutions in units of the native one.
_HEADS = {
    "fast": ("logistic", "kernel", "prototype"),
    "balanced": ("logistic", "kernel", "prototype"),
    "best": ("logistic", "kernel", "prototype", "mlp"),
}
_FINETUNED = ("best",)
_VIEWS: Mapping[str, tuple[int, ...]] = {"fast": (1, 2), "balanced": (1, 2, 8), "best": (1, 2, 8)}
_RESOLUTIONS = {"fast": (1.0,), "balanced": (1.0,), "best": (1.0, 1.25)}
# With more backbones only single ones and the whole are tried: subsets grow as 2^n.
_MOST_COMBINED = 3


def transfer_space(effort: str, backbones: Sequence[str], task: Task) -> Space:
    """Return the space of candidates.

    Args:
        effort: `fast`, `balanced` or `best`.
        backbones: names, quickest first.

    Raises:
        InvalidSpecError: no such effort, or no backbone.
    """
    if effort not in _HEADS or not backbones:
        raise InvalidSpecError(
            f"effort {effort!r} is none of {', '.join(_HEADS)}"
            if effort not in _HEADS
            else "the transfer preset needs at least one backbone"
        )
    heads = [find_head(name) for name in _HEADS[effort]]
    names: tuple[str, ...] = tuple(head.name for head in heads)
    frozen = Condition("head", names)
    tuned = [name for name in backbones if _is_tunable(name)] if effort in _FINETUNED else []
    parameters: list[Parameter] = [
        Categorical("head", (*names, FINETUNE) if tuned else names),
        Categorical("backbones", combined(backbones), frozen),
        Categorical("resolution", _RESOLUTIONS[effort]),
        Categorical("views", _VIEWS[effort]),
        Categorical("view_training", ("mean", "each"), Condition("views", (2, 8))),
        Categorical("scaling", KINDS, frozen),
        Categorical("class_weight", CLASS_WEIGHTS),
    ]
    for head in heads:
        parameters.extend(_named(head.name, head.parameters))
    if tuned:
        own = (Categorical("backbone", tuple(tuned)), *finetune.PARAMETERS)
        parameters.extend(_named(FINETUNE, own))
    return Space(tuple(parameters))


def default_candidates(
    effort: str, backbones: Sequence[str], task: Task
) -> tuple[dict[str, Scalar], ...]:
    """Return the candidates to try first, each in the space of the same arguments.

    The ladder: the baseline; the kernel on the same features; more backbones; more views.
    Its order and the heads' defaults were found by cross-validation on the training parts
    of three data sets, see `bench/transfer`.
    """
    space = transfer_space(effort, backbones, task)
    first, everything = backbones[0], JOIN.join(backbones)
    ladder = [_candidate(first, 1, "logistic"), _candidate(first, 1, "kernel")]
    ladder += [_candidate(JOIN.join(backbones[:n]), 1, "kernel") for n in _sizes(len(backbones))]
    ladder += [_candidate(first, views, "kernel") for views in (2, 8)]
    ladder += [_candidate(everything, views, "kernel") for views in (2, 8)]
    ladder += [_candidate(everything, 8, "kernel", resolution=1.25)]
    ladder += [_candidate(first, 1, "prototype"), _candidate(everything, 1, "mlp")]
    ladder += [_tuned_candidate(first)]
    kept = {candidate_key(c): c for c in ladder if space.contains(c)}
    return tuple(kept.values())


def combined(backbones: Sequence[str]) -> tuple[str, ...]:
    """Return the sets of backbones that are tried, as `a`, `b`, `a+b` …, small ones first."""
    sizes = range(1, len(backbones) + 1)
    if len(backbones) > _MOST_COMBINED:
        sizes = range(1, len(backbones) + 1, len(backbones) - 1)
    return tuple(JOIN.join(some) for size in sizes for some in combinations(backbones, size))


def _sizes(count: int) -> list[int]:
    """Return how many backbones the ladder's steps take together."""
    return list(range(2, count + 1)) if count <= _MOST_COMBINED else [count]


def _candidate(backbones: str, views: int, head: str, resolution: float = 1.0) -> dict[str, Scalar]:
    candidate: dict[str, Scalar] = {
        "backbones": backbones,
        "resolution": resolution,
        "views": views,
    }
    if views > 1:
        candidate["view_training"] = "mean"
    candidate |= {"scaling": "power", "class_weight": "none", "head": head}
    return candidate | {f"{head}.{name}": value for name, value in find_head(head).defaults.items()}


def _tuned_candidate(backbone: str) -> dict[str, Scalar]:
    candidate: dict[str, Scalar] = {"head": FINETUNE, "resolution": 1.0, "views": 2}
    candidate |= {"view_training": "mean", "class_weight": "none"}
    candidate[f"{FINETUNE}.backbone"] = backbone
    return candidate | {f"{FINETUNE}.{k}": v for k, v in finetune.DEFAULTS.items()}


def _is_tunable(backbone: str) -> bool:
    return backbone in VARIANTS


def _named(head: str, parameters: Sequence[Parameter]) -> list[Parameter]:
    """Return a head's parameters under its name, which exist only with that head."""
    when = Condition("head", (head,))
    return [replace(p, name=f"{head}.{p.name}", when=when) for p in parameters]
