"""Networks that are trained from nothing: what cells are stacked into, and how they learn."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, StrictBool, StrictFloat, StrictInt

from strandline.spec.rules import SpecModel


class CellFamily(StrEnum):
    """An architecture space."""

    NASNET = "nasnet"
    NASBENCH201 = "nasbench201"
    DARTS = "darts"
    MBCONV = "mbconv"


class Stem(StrEnum):
    """How a network starts."""

    CIFAR = "cifar"
    IMAGENET = "imagenet"


class Flips(StrEnum):
    """Which mirror images and turns of an image mean the same."""

    NONE = "none"
    HORIZONTAL = "horizontal"
    DIHEDRAL = "dihedral"


class Network(SpecModel):
    """What a cell is stacked into."""

    image_size: StrictInt = Field(
        default=32, ge=8, le=1024, description="Side in pixels to which images are stretched."
    )
    filters: StrictInt = Field(
        default=16,
        ge=1,
        le=1024,
        description="Channels of the first stage's operations; they double in each next one.",
    )
    cells: StrictInt = Field(
        default=1, ge=1, le=64, description="Normal cells in each of the three stages."
    )
    stem: Stem = Field(
        default=Stem.CIFAR,
        description="cifar keeps the size of the image, imagenet quarters it first.",
    )
    drop_path: StrictFloat = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Probability with which ScheduledDropPath drops an operation at the end.",
    )
    auxiliary: StrictBool = Field(
        default=False, description="Train with an auxiliary classifier on an inner cell."
    )


class Schedule(SpecModel):
    """How a network is trained from nothing."""

    epochs: StrictInt = Field(
        default=9, ge=1, le=10_000, description="Times each training image is seen."
    )
    batch_size: StrictInt = Field(
        default=64, ge=2, le=8192, description="Images of one step of the optimizer."
    )
    learning_rate: StrictFloat = Field(
        default=0.1, gt=0, le=10, description="Highest rate; it falls to 0 as a cosine."
    )
    warmup_epochs: StrictFloat = Field(
        default=0.5, ge=0, le=100, description="Epochs in which the rate rises to its highest."
    )
    weight_decay: StrictFloat = Field(
        default=5e-4, ge=0, le=1, description="Of weights; not of biases and normalisation."
    )
    label_smoothing: StrictFloat = Field(
        default=0.1, ge=0, lt=1, description="Share of the truth given to all labels alike."
    )
    flips: Flips = Field(
        default=Flips.HORIZONTAL,
        description="none; horizontal for photos; dihedral where no side is up, as from above.",
    )
    crop: StrictFloat = Field(
        default=0.125,
        ge=0,
        le=0.5,
        description="Images are shifted by up to this share of their side.",
    )
    cutout: StrictFloat = Field(
        default=0.0, ge=0, lt=1, description="Side of a square left blank, as a share of theirs."
    )
