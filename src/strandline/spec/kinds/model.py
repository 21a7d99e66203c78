"""Model: a named series of trained, evaluated and exported versions."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, StrictStr

from strandline.spec.fields import Count, Name, Number
from strandline.spec.kinds.base import KindModel
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.rules import SpecModel
from strandline.spec.status import Status


class ModelSpec(SpecModel):
    """A named series of model versions."""

    description: StrictStr = Field(default="", max_length=4096, description="For the model card.")
    license: StrictStr = Field(default="", max_length=256, description="Licence of the model.")
    intended_use: StrictStr = Field(
        default="", max_length=4096, description="What it is meant for, and what not."
    )
    default_version: Number | None = Field(
        default=None, description="Version that predicts; the newest if absent."
    )


class ModelStatus(Status):
    """The versions of a model."""

    versions: Count | None = Field(default=None, description="Number of versions.")
    version: Number | None = Field(default=None, description="Version that predicts.")
    task: StrictStr | None = Field(default=None, max_length=63, description="Task of that version.")
    labels: Count | None = Field(default=None, description="Number of its labels.")
    dataset: Name | None = Field(default=None, description="Dataset it was trained on.")
    headline: StrictStr | None = Field(
        default=None, max_length=128, description="Its headline metric on the test split."
    )
    bundle: StrictStr | None = Field(
        default=None,
        max_length=71,
        description="Digest of its Bundle: the store's object `objects/` plus two digits, `/`, "
        "and the others.",
    )


class Model(KindModel):
    """A named series of trained, evaluated and exported model versions."""

    names: ClassVar[KindNames] = KindNames(
        plural="models",
        singular="model",
        short=("mdl",),
        columns=(
            *ready_columns(),
            Column("Version", "integer", ".status.version", "Version that predicts."),
            Column("Task", "string", ".status.task", "What its labels mean.", wide=True),
            Column("Labels", "integer", ".status.labels", "Number of its labels."),
            Column("Dataset", "string", ".status.dataset", "What it was trained on."),
            Column("Headline", "string", ".status.headline", "Its metric on the test split."),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = ModelStatus

    kind: Literal["Model"] = Field(description="Kind of this object.")
    spec: ModelSpec = Field(default_factory=ModelSpec, description="What is wanted.")
