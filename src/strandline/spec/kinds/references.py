"""What several kinds refer to, and by which words."""

from __future__ import annotations

from pydantic import Field, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import Name, Number, Setting
from strandline.spec.rules import SpecModel


class DatasetRef(SpecModel):
    """A dataset, and optionally which version of it."""

    name: Name = Field(description="Name of the Dataset.")
    version: Number | None = Field(default=None, description="Version; the newest if absent.")


class ModelRef(SpecModel):
    """A model, and optionally which version of it."""

    name: Name = Field(description="Name of the Model.")
    version: Number | None = Field(
        default=None, description="Version; the one that the Model says predicts if absent."
    )


class NamedChoice(SpecModel):
    """An entry of a registry with its settings."""

    name: Name = Field(description="Name in the registry.")
    settings: dict[StrictStr, Setting] = Field(
        default_factory=dict,
        max_length=64,
        description="Settings of the entry (numbers, text, true or false); its defaults if empty.",
    )


class ModelTarget(SpecModel):
    """What the best trial becomes."""

    name: Name = Field(description="Name of the Model to register a version of.")
    max_error_rate: StrictFloat = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Abstention goal: among answers given, at most this share is wrong.",
    )


class PoolRef(SpecModel):
    """A ComputePool, and how much of it."""

    name: Name = Field(description="Name of the ComputePool; a laptop runs here instead.")
    workers: StrictInt | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Workers to take of it, always as many; as the pool says if absent.",
    )


class DriverPlace(SpecModel):
    """Where the process runs that decides and keeps the state."""

    pool: Name | None = Field(
        default=None,
        description="ComputePool whose nodes it runs on, without their accelerators; any node "
        "that takes pods if absent. A spot pool is refused: the driver must not be taken away.",
    )
