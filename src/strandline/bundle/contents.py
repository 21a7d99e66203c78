"""What a bundle says about the model in it: records, all of them plain JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal

from pydantic import Field

from strandline.bundle.archive import FORMAT_VERSION
from strandline.spec.fields import Name
from strandline.spec.records import Digest, Record, Scalar, Task
from strandline.spec.scorecard import Abstention

# Absolute, on scores between 0 and 1: what CPUs with other vector units differ by is a
# hundred times less, what one wrong weight changes is as a rule more.
DEFAULT_TOLERANCE = 1e-3

_REPORTED_PACKAGES = (
    "strandline",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "pillow",
    "ray",
    "scikit-learn",
    "torch",
)


class InputContract(Record):
    """What the graph takes; the same for every bundle of this format version."""

    name: Literal["images"] = "images"
    dtype: Literal["uint8"] = "uint8"
    shape: tuple[Literal["N"], Literal["H"], Literal["W"], Literal[3]] = ("N", "H", "W", 3)
    color: Literal["RGB"] = "RGB"
    preparation: str = (
        "decode; turn upright by the EXIF orientation; lay alpha over white; scale 16 bits "
        "to 8; any height and width, no resizing, no normalisation"
    )


class OutputContract(Record):
    """What the graph gives."""

    name: Literal["scores"] = "scores"
    dtype: Literal["float32"] = "float32"
    shape: tuple[Literal["N"], Literal["labels"]] = ("N", "labels")
    meaning: str = "calibrated probability of each label, in the order of `labels`"


class Member(Record):
    """Size in bytes and digest of one member."""

    size: int = Field(ge=0)
    digest: Digest


class Manifest(Record):
    """The bundle's table of contents and its promises.

    Attributes:
        name: of the model; no path, so that it can name files.
        labels: in the order of the scores.
        opset: of the standard operators the graph uses.
        abstention: when to say "I don't know", and from which score labels are given.
        calibration: scale and bias that are already inside the graph, for the record.
        tolerance: the golden scores must come again within this, absolutely.
        members: every other member of the file.
    """

    format_version: Literal[1] = FORMAT_VERSION
    name: Name
    task: Task
    labels: tuple[str, ...] = Field(min_length=1)
    input: InputContract = InputContract()
    output: OutputContract = OutputContract()
    opset: int
    abstention: Abstention
    calibration: Mapping[str, Any] = {}
    tolerance: float = Field(default=DEFAULT_TOLERANCE, gt=0, lt=0.1)
    members: Mapping[str, Member]


class Receipt(Record):
    """How the model came about, enough to train it again.

    Attributes:
        dataset_digest: of the exact images, labels and split.
        spec: of the Search.
        candidate: the parameters that won.
        trials: every candidate tried, with its state and metrics.
        environment: versions of what it was trained with.
        notes: what a person should know of this model.
    """

    dataset: str
    dataset_version: int
    dataset_digest: Digest
    search: str | None = None
    spec: Mapping[str, Any] = {}
    seed: int
    candidate: Mapping[str, Scalar]
    trials: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


def describe_environment() -> dict[str, str]:
    """Return the versions that results may depend on; no names of machines or people."""
    found = {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    for package in _REPORTED_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
