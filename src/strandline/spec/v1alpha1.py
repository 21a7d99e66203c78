"""The kinds of `strandline.dev/v1alpha1`: the one definition everything else comes from.

CRDs, JSON Schema, reference pages and the console's forms are generated from these
models (`make generate`). Fields are camelCase in documents and snake_case in Python.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from strandline.spec.records import Scalar, Task
from strandline.spec.rules import Rule

API_VERSION = "strandline.dev/v1alpha1"

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63),
]
"""A DNS label (RFC 1123), as Kubernetes names things."""

Duration = Annotated[
    str, StringConstraints(pattern=r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$", min_length=2, max_length=32)
]
"""Hours, minutes and seconds: `2m`, `1h30m`, `45s`."""

_DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$")


def parse_duration(text: str) -> timedelta:
    """Parse `1h30m`, `45s` and the like.

    Raises:
        ValueError: the text is not a duration.
    """
    match = _DURATION.match(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration: write it like 45s, 2m or 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


class SpecModel(BaseModel):
    """Base of everything in a document: frozen, unknown fields refused, rules checked."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        for rule in self.rules:
            if not rule.holds(self):
                raise ValueError(rule.message)
        return self


class Metadata(SpecModel):
    """The part of Kubernetes' ObjectMeta that documents may set."""

    name: Name = Field(description="Name of the object, unique per kind and namespace.")
    namespace: Name = Field(default="default", description="Namespace of the object.")
    labels: dict[str, str] = Field(default_factory=dict, description="Labels for selectors.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Free-form notes.")


# ---------------------------------------------------------------- Dataset


class SourceFormat(StrEnum):
    """How the images and labels of a source are laid out."""

    AUTO = "auto"
    FOLDER = "folder"
    ZIP = "zip"
    CSV = "csv"
    JSONL = "jsonl"
    LABEL_STUDIO = "label-studio"


class TaskChoice(StrEnum):
    """A task, or `auto` to judge by the data."""

    AUTO = "auto"
    MULTICLASS = Task.MULTICLASS.value
    MULTILABEL = Task.MULTILABEL.value


class DatasetSource(SpecModel):
    """Where the images come from."""

    uri: str = Field(
        min_length=1,
        max_length=2048,
        description="A path, `file://` or `s3://` address of a folder, archive or table.",
    )
    format: SourceFormat = Field(
        default=SourceFormat.AUTO, description="Layout of the source; `auto` looks at it."
    )


class ImportLimits(SpecModel):
    """What one image may cost before it is refused."""

    max_bytes: int = Field(default=50_000_000, ge=1, description="Largest encoded image, in bytes.")
    max_pixels: int = Field(
        default=100_000_000, ge=1, description="Largest image, width times height."
    )
    timeout_seconds: float = Field(
        default=20.0, gt=0, le=3600, description="Longest time to decode one image."
    )
    max_items: int = Field(
        default=5_000_000, ge=1, description="Most images that one import takes."
    )


class SplitPolicy(SpecModel):
    """How images without a given split are divided."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.validation + self.test < 1.0",
            holds=lambda s: s.validation + s.test < 1.0,
            message="validation and test must leave something to train on: "
            "their sum must be below 1",
        ),
    )
    validation: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share held out for validation; 0 uses cross-validation on the training part.",
    )
    test: float = Field(default=0.2, ge=0, lt=1, description="Share held out for the evaluation.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the division.")


class DatasetSpec(SpecModel):
    """A set of images with labels."""

    source: DatasetSource = Field(description="Where the images come from.")
    task: TaskChoice = Field(
        default=TaskChoice.AUTO, description="One label an image, any number, or `auto`."
    )
    limits: ImportLimits = Field(
        default_factory=ImportLimits, description="What one image may cost."
    )
    split: SplitPolicy = Field(
        default_factory=SplitPolicy, description="How images without a split are divided."
    )


# ---------------------------------------------------------------- Search


class DatasetRef(SpecModel):
    """A dataset, and optionally which version of it."""

    name: Name = Field(description="Name of the Dataset.")
    version: int | None = Field(default=None, ge=1, description="Version; the newest if absent.")


class SpacePreset(StrEnum):
    """A space that Strandline keeps."""

    TRANSFER = "transfer"
    CUSTOM = "custom"


class ParameterType(StrEnum):
    """What a parameter's values are."""

    FLOAT = "float"
    INT = "int"
    CATEGORICAL = "categorical"


class ParameterCondition(SpecModel):
    """The parameter exists only while another one has one of these values."""

    parameter: str = Field(description="Name of the parameter that decides.", max_length=128)
    values: list[str] = Field(
        min_length=1, max_length=64, description="Values (as text) that switch this one on."
    )


class Parameter(SpecModel):
    """One dimension of a search space."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.type == 'categorical' ? has(self.values) && !has(self.min) && !has(self.max)"
            " : has(self.min) && has(self.max) && !has(self.values)",
            holds=lambda p: (
                (p.values is not None and p.min is None and p.max is None)
                if p.type is ParameterType.CATEGORICAL
                else (p.min is not None and p.max is not None and p.values is None)
            ),
            message="a categorical parameter takes values; float and int take min and max",
        ),
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min < self.max",
            holds=lambda p: p.min is None or p.max is None or p.min < p.max,
            message="min must be below max",
        ),
        Rule(
            cel="!self.log || (has(self.min) && self.min > 0.0)",
            holds=lambda p: not p.log or (p.min is not None and p.min > 0),
            message="a log parameter needs a min above 0",
        ),
    )
    name: str = Field(
        min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", description="Name."
    )
    type: ParameterType = Field(description="float, int or categorical.")
    min: float | None = Field(default=None, description="Smallest value, inclusive.")
    max: float | None = Field(default=None, description="Largest value, inclusive.")
    log: bool = Field(default=False, description="Search on a logarithmic scale.")
    values: list[str] | None = Field(
        default=None, min_length=1, max_length=256, description="Values of a categorical."
    )
    when: ParameterCondition | None = Field(
        default=None, description="Condition under which the parameter exists."
    )


class Space(SpecModel):
    """What is searched."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.preset == 'custom' ? has(self.parameters) && size(self.parameters) > 0"
            " : !has(self.parameters) || size(self.parameters) == 0",
            holds=lambda s: bool(s.parameters) == (s.preset is SpacePreset.CUSTOM),
            message="parameters belong to preset custom, and custom needs at least one",
        ),
    )
    preset: SpacePreset = Field(
        default=SpacePreset.TRANSFER,
        description="`transfer`: pretrained backbones with heads. `custom`: your parameters.",
    )
    effort: Literal["fast", "balanced", "best"] = Field(
        default="balanced", description="How large a part of the preset is searched."
    )
    backbones: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="Backbones to choose from; the preset's own if absent. "
        "`timm:NAME` loads from the timm hub.",
    )
    parameters: list[Parameter] | None = Field(
        default=None, max_length=128, description="Dimensions of a custom space."
    )


class Goal(StrEnum):
    """Which way is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Objective(SpecModel):
    """A metric to improve."""

    metric: str = Field(
        min_length=1, max_length=128, description="Name of the metric, e.g. `val/log_loss`."
    )
    goal: Goal = Field(default=Goal.MAXIMIZE, description="Which way is better.")


class NamedChoice(SpecModel):
    """An entry of a registry with its settings."""

    name: str = Field(min_length=1, max_length=63, description="Name in the registry.")
    settings: dict[str, Scalar] = Field(
        default_factory=dict, description="Settings of the entry; its defaults if empty."
    )


class Budget(SpecModel):
    """When to stop; the first limit reached ends the search."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.trials) || has(self.time) || has(self.deviceHours)",
            holds=lambda b: (b.trials, b.time, b.device_hours) != (None, None, None),
            message="a budget needs trials, time or deviceHours",
        ),
    )
    trials: int | None = Field(default=None, ge=1, le=1_000_000, description="Most trials.")
    time: Duration | None = Field(default=None, description="Longest wall-clock time, e.g. `10m`.")
    device_hours: float | None = Field(
        default=None, gt=0, description="Most hours summed over all trials' devices."
    )


class StopRules(SpecModel):
    """Reasons to stop before the budget is spent."""

    goal: float | None = Field(
        default=None, description="Stop when the first objective reaches this value."
    )
    plateau_trials: int | None = Field(
        default=None, ge=1, description="Stop when so many trials brought no better value."
    )


class ModelTarget(SpecModel):
    """What the best trial becomes."""

    name: Name = Field(description="Name of the Model to register a version of.")
    max_error_rate: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="Abstention goal: among answers given, at most this share is wrong.",
    )


class SearchSpec(SpecModel):
    """A search for the best way to classify a dataset."""

    dataset: DatasetRef = Field(description="What to learn from.")
    space: Space = Field(default_factory=Space, description="What is searched.")
    objectives: list[Objective] = Field(
        default_factory=lambda: [Objective(metric="val/log_loss", goal=Goal.MINIMIZE)],
        min_length=1,
        max_length=4,
        description="Metrics to improve; the first decides which trial is best.",
    )
    algorithm: NamedChoice = Field(
        default_factory=lambda: NamedChoice(name="tpe"), description="Search algorithm."
    )
    early_stopping: NamedChoice = Field(
        default_factory=lambda: NamedChoice(name="asha"), description="When trials end early."
    )
    budget: Budget = Field(
        default_factory=lambda: Budget(time="10m"), description="When the search ends."
    )
    stop: StopRules = Field(default_factory=StopRules, description="Reasons to stop early.")
    parallelism: int = Field(default=1, ge=1, le=10_000, description="Trials at once.")
    trial_timeout: Duration | None = Field(
        default=None, description="Longest time of one trial's step."
    )
    max_failed_trials: int = Field(
        default=10, ge=0, description="End as failed when more trials than this fail in a row."
    )
    pools: list[NamedChoice] = Field(
        default_factory=list, max_length=16, description="ComputePools to run on; local if empty."
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of every random choice.")
    suspend: bool = Field(default=False, description="Hold the search; its state is kept.")
    model: ModelTarget | None = Field(
        default=None, description="Register the best trial, refitted, as a version of this Model."
    )


# ---------------------------------------------------------------- Model


class ModelSpec(SpecModel):
    """A named series of model versions."""

    description: str = Field(default="", max_length=4096, description="For the model card.")
    license: str = Field(default="", max_length=256, description="Licence of the model.")
    intended_use: str = Field(
        default="", max_length=4096, description="What it is meant for, and what not."
    )
    default_version: int | None = Field(
        default=None, ge=1, description="Version that predicts; the newest if absent."
    )


class Dataset(SpecModel):
    """A set of labeled images, versioned."""

    api_version: Literal["strandline.dev/v1alpha1"] = Field(description="Version of this schema.")
    kind: Literal["Dataset"] = Field(description="Kind of this object.")
    metadata: Metadata = Field(description="Name, labels and annotations.")
    spec: DatasetSpec = Field(description="What is wanted.")


class Search(SpecModel):
    """A search over backbones, heads and hyperparameters that ends in a Model."""

    api_version: Literal["strandline.dev/v1alpha1"] = Field(description="Version of this schema.")
    kind: Literal["Search"] = Field(description="Kind of this object.")
    metadata: Metadata = Field(description="Name, labels and annotations.")
    spec: SearchSpec = Field(description="What is wanted.")


class Model(SpecModel):
    """A named series of trained, evaluated and exported model versions."""

    api_version: Literal["strandline.dev/v1alpha1"] = Field(description="Version of this schema.")
    kind: Literal["Model"] = Field(description="Kind of this object.")
    metadata: Metadata = Field(description="Name, labels and annotations.")
    spec: ModelSpec = Field(default_factory=ModelSpec, description="What is wanted.")


Kind = Dataset | Search | Model
KINDS: dict[str, type[Dataset] | type[Search] | type[Model]] = {
    "Dataset": Dataset,
    "Search": Search,
    "Model": Model,
}


def to_document(model: SpecModel) -> dict[str, Any]:
    """Return `model` as the document a person would write: camelCase, nothing unset."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
