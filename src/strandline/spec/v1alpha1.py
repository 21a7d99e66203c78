"""The kinds of `strandline.dev/v1alpha1`: the one definition everything else comes from.

CRDs, JSON Schema, reference pages and the console's forms are generated from these
models (`make generate`). Fields are camelCase in documents and snake_case in Python.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import (
    LARGEST_EXACT_INT,
    Duration,
    LabelKey,
    LabelValue,
    Name,
    Setting,
    ShortText,
    parse_duration as parse_duration,
)
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.networks import CellFamily, Network, Schedule
from strandline.spec.records import Task
from strandline.spec.rules import Rule, SpecModel, keyed_by
from strandline.spec.search_space import (
    Parameter as Parameter,
    ParameterCondition as ParameterCondition,
    ParameterType as ParameterType,
    Space as Space,
    SpacePreset as SpacePreset,
)
from strandline.spec.status import DatasetStatus, ModelStatus, SearchStatus, Status, TrainingStatus

API_VERSION = "strandline.dev/v1alpha1"


class Metadata(SpecModel):
    """The part of Kubernetes' ObjectMeta that documents may set."""

    name: Name = Field(description="Name of the object, unique per kind and namespace.")
    namespace: Name = Field(
        default="default", description="Namespace of the object; a laptop has only one."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels for selectors."
    )
    annotations: dict[LabelKey, StrictStr] = Field(
        default_factory=dict, description="Free-form notes."
    )


def _is_some_time(text: str | None) -> bool:
    return text is None or any(digit in text for digit in "123456789")


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

    uri: StrictStr = Field(
        min_length=1,
        max_length=2048,
        description="A path, `file://` or `s3://` address of a folder, archive or table. "
        "On a laptop a relative path starts at the folder of the document.",
    )
    format: SourceFormat = Field(
        default=SourceFormat.AUTO, description="Layout of the source; `auto` looks at it."
    )
    root: StrictStr | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        description="Folder or prefix that relative paths in a table start from; "
        "the table's own if absent.",
    )


class ImportLimits(SpecModel):
    """What one image may cost before it is refused."""

    max_bytes: StrictInt = Field(
        default=50_000_000,
        ge=1,
        le=LARGEST_EXACT_INT,
        description="Largest encoded image, in bytes.",
    )
    max_pixels: StrictInt = Field(
        default=50_000_000,
        ge=1,
        le=LARGEST_EXACT_INT,
        description="Largest image, width times height.",
    )
    timeout_seconds: StrictFloat = Field(
        default=20.0, gt=0, le=3600, description="Longest time to decode one image."
    )
    max_items: StrictInt = Field(
        default=5_000_000,
        ge=1,
        le=LARGEST_EXACT_INT,
        description="Most images that one import takes.",
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
    validation: StrictFloat = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share held out for validation; 0 uses cross-validation on the training part.",
    )
    test: StrictFloat = Field(
        default=0.2, ge=0, lt=1, description="Share held out for the evaluation."
    )
    seed: StrictInt = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the division.")


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
    version: StrictInt | None = Field(
        default=None, ge=1, le=LARGEST_EXACT_INT, description="Version; the newest if absent."
    )


class Goal(StrEnum):
    """Which way is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Objective(SpecModel):
    """A metric to improve."""

    metric: StrictStr = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_./@-]*$",
        description="Name of the metric, e.g. `val/log_loss`.",
    )
    goal: Goal = Field(default=Goal.MAXIMIZE, description="Which way is better.")
    limit: StrictFloat | None = Field(
        default=None,
        description="Worst value allowed (most for minimize, least for maximize): "
        "a trial beyond it is not chosen while another one keeps to it.",
    )


class NamedChoice(SpecModel):
    """An entry of a registry with its settings."""

    name: Name = Field(description="Name in the registry.")
    settings: dict[ShortText, Setting] = Field(
        default_factory=dict,
        max_length=64,
        description="Settings of the entry (numbers, text, true or false); its defaults if empty.",
    )


class Budget(SpecModel):
    """When to stop; the first limit reached ends the search."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.trials) || has(self.time) || has(self.deviceHours)",
            holds=lambda b: (b.trials, b.time, b.device_hours) != (None, None, None),
            message="a budget needs trials, time or deviceHours",
        ),
        Rule(
            cel="!has(self.time) || self.time.matches('[1-9]')",
            holds=lambda b: _is_some_time(b.time),
            message="the time of a budget must be above 0s",
        ),
    )
    trials: StrictInt | None = Field(default=None, ge=1, le=1_000_000, description="Most trials.")
    time: Duration | None = Field(default=None, description="Longest wall-clock time, e.g. `10m`.")
    device_hours: StrictFloat | None = Field(
        default=None, gt=0, description="Most hours summed over all trials' devices."
    )


class StopRules(SpecModel):
    """Reasons to stop before the budget is spent."""

    goal: StrictFloat | None = Field(
        default=None, description="Stop when the first objective reaches this value."
    )
    plateau_trials: StrictInt | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Stop when so many trials brought no better value.",
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


class WarmStart(SpecModel):
    """An earlier search to begin with."""

    search: Name = Field(description="Name of the Search.")
    fork: StrictBool = Field(
        default=False,
        description="Take its trials over as this search's own: they count in the budget and "
        "may be the best. Otherwise they are only learned from.",
    )


class Rerank(SpecModel):
    """What the best cells of a search on small networks are compared by in the end."""

    candidates: StrictInt = Field(
        default=10, ge=1, le=16, description="So many of the best are trained once more."
    )
    sample: StrictInt = Field(
        default=0,
        ge=0,
        le=100,
        description="So many trials, drawn from all, are trained fully too, to tell in "
        "`status.proxy` how well the search's small networks rank cells.",
    )
    network: Network | None = Field(
        default=None, description="What cells are stacked into then; as in the search if absent."
    )
    schedule: Schedule | None = Field(
        default=None, description="How networks are trained then; as in the search if absent."
    )


ONE_SHOT = frozenset({"enas"})
"""Algorithms whose trials share weights, which are trained before the first trial."""


class SearchSpec(SpecModel):
    """A search for the best way to classify a dataset."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.warmStart) || self.warmStart.filter(w, w.fork).size() <= 1",
            holds=lambda s: sum(each.fork for each in s.warm_start) <= 1,
            message="warmStart may fork one search only",
        ),
        Rule(
            cel="!has(self.trialTimeout) || self.trialTimeout.matches('[1-9]')",
            holds=lambda s: _is_some_time(s.trial_timeout),
            message="trialTimeout must be above 0s",
        ),
        Rule(
            cel="!has(self.rerank) || self.space.preset == 'cells'",
            holds=lambda s: s.rerank is None or s.space.preset is SpacePreset.CELLS,
            message="rerank belongs to the space preset cells",
        ),
        Rule(
            cel="self.algorithm.name != 'enas' || (has(self.rerank)"
            " && !has(self.space.parameters))",
            holds=lambda s: (
                s.algorithm.name not in ONE_SHOT
                or (s.rerank is not None and s.space.parameters is None)
            ),
            message="enas needs the space preset cells without parameters, and rerank: what "
            "its trials share is no model",
        ),
    )
    dataset: DatasetRef = Field(description="What to learn from.")
    space: Space = Field(default_factory=Space, description="What is searched.")
    objectives: list[Objective] = Field(
        default_factory=lambda: [Objective(metric="val/log_loss", goal=Goal.MINIMIZE)],
        min_length=1,
        max_length=4,
        json_schema_extra=keyed_by("metric"),
        description="Metrics to improve; the first decides which trial is best.",
    )
    algorithm: NamedChoice = Field(
        default_factory=lambda: NamedChoice(name="auto"),
        description="Search algorithm; `auto` is `predictor-evolution` for cells, else `tpe`.",
    )
    early_stopping: NamedChoice = Field(
        default_factory=lambda: NamedChoice(name="asha"), description="When trials end early."
    )
    budget: Budget = Field(
        default_factory=lambda: Budget(time="10m"), description="When the search ends."
    )
    stop: StopRules = Field(default_factory=StopRules, description="Reasons to stop early.")
    rerank: Rerank | None = Field(
        default=None,
        description="Train the best cells once more, fully and on all images, and let that decide.",
    )
    parallelism: StrictInt = Field(default=1, ge=1, le=10_000, description="Trials at once.")
    trial_timeout: Duration | None = Field(
        default=None, description="Longest time of one trial's step."
    )
    max_failed_trials: StrictInt = Field(
        default=10,
        ge=0,
        le=1_000_000,
        description="End as failed when more trials than this fail in a row.",
    )
    pools: list[NamedChoice] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("name"),
        description="ComputePools to run on; local if empty.",
    )
    seed: StrictInt = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of every random choice."
    )
    warm_start: list[WarmStart] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=keyed_by("search"),
        description="Earlier searches whose trials are learned from before the first one here.",
    )
    suspend: StrictBool = Field(default=False, description="Hold the search; its state is kept.")
    model: ModelTarget | None = Field(
        default=None, description="Register the best trial, refitted, as a version of this Model."
    )


# ---------------------------------------------------------------- Training


class CellSource(SpecModel):
    """Which cell a network is built of: one that a Search found, or one written out."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.search) != has(self.genotype) && has(self.genotype) == has(self.family)",
            holds=lambda c: (
                (c.search is not None) != (c.genotype is not None)
                and (c.genotype is None) == (c.family is None)
            ),
            message="a cell is either that of a search, or a family with its genotype",
        ),
        Rule(
            cel="!has(self.trial) || has(self.search)",
            holds=lambda c: c.trial is None or c.search is not None,
            message="trial belongs to search",
        ),
    )
    search: Name | None = Field(default=None, description="Search with preset `cells`.")
    trial: StrictInt | None = Field(
        default=None, ge=0, le=LARGEST_EXACT_INT, description="Its trial; the best one if absent."
    )
    family: CellFamily | None = Field(default=None, description="Architecture space.")
    genotype: dict[ShortText, Setting] | None = Field(
        default=None, max_length=256, description="Every decision of the cell by its name."
    )


class TrainingSpec(SpecModel):
    """The full training of one network from nothing."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.epochTimeout) || self.epochTimeout.matches('[1-9]')",
            holds=lambda s: _is_some_time(s.epoch_timeout),
            message="epochTimeout must be above 0s",
        ),
    )
    dataset: DatasetRef = Field(description="What to learn from.")
    cell: CellSource = Field(description="What the network is built of.")
    network: Network = Field(default_factory=Network, description="What the cell is stacked into.")
    schedule: Schedule = Field(default_factory=Schedule, description="How it is trained.")
    epoch_timeout: Duration | None = Field(default=None, description="Longest time of one epoch.")
    seed: StrictInt = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of every random choice."
    )
    suspend: StrictBool = Field(default=False, description="Hold the training; its state is kept.")
    model: ModelTarget | None = Field(
        default=None, description="Register the network as a version of this Model."
    )


# ---------------------------------------------------------------- Model


class ModelSpec(SpecModel):
    """A named series of model versions."""

    description: StrictStr = Field(default="", max_length=4096, description="For the model card.")
    license: StrictStr = Field(default="", max_length=256, description="Licence of the model.")
    intended_use: StrictStr = Field(
        default="", max_length=4096, description="What it is meant for, and what not."
    )
    default_version: StrictInt | None = Field(
        default=None,
        ge=1,
        le=LARGEST_EXACT_INT,
        description="Version that predicts; the newest if absent.",
    )


class KindModel(SpecModel):
    """What the documents of all kinds have in common."""

    names: ClassVar[KindNames]
    status_model: ClassVar[type[Status]]

    api_version: Literal["strandline.dev/v1alpha1"] = Field(description="Version of this schema.")
    kind: StrictStr = Field(description="Kind of this object.")
    metadata: Metadata = Field(description="Name, labels and annotations.")


class Dataset(KindModel):
    """A set of labeled images, versioned."""

    names: ClassVar[KindNames] = KindNames(
        plural="datasets",
        singular="dataset",
        short=("ds",),
        columns=(
            *ready_columns(),
            Column("Version", "integer", ".status.version", "Number of the newest version."),
            Column("Items", "integer", ".status.items", "Distinct images."),
            Column("Labeled", "integer", ".status.labeled", "Images that have labels.", wide=True),
            Column("Labels", "integer", ".status.labels", "Number of different labels."),
            Column("Refused", "integer", ".status.refused", "Files left out.", wide=True),
            Column("Source", "string", ".spec.source.uri", "Where it comes from.", wide=True),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = DatasetStatus

    kind: Literal["Dataset"] = Field(description="Kind of this object.")
    spec: DatasetSpec = Field(description="What is wanted.")


class Search(KindModel):
    """A search over backbones, heads and hyperparameters that ends in a Model."""

    names: ClassVar[KindNames] = KindNames(
        plural="searches",
        singular="search",
        short=("srch",),
        columns=(
            *ready_columns(),
            Column("Dataset", "string", ".spec.dataset.name", "What it learns from."),
            Column("Completed", "integer", ".status.trials.completed", "Trials that ran through."),
            Column("Pruned", "integer", ".status.trials.pruned", "Stopped early.", wide=True),
            Column("Failed", "integer", ".status.trials.failed", "Trials that died.", wide=True),
            Column("Best", "number", ".status.best.value", "Best value of the first objective."),
            Column("Metric", "string", ".status.best.metric", "The first objective.", wide=True),
            Column("Model", "string", ".spec.model.name", "What the best trial becomes."),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = SearchStatus

    kind: Literal["Search"] = Field(description="Kind of this object.")
    spec: SearchSpec = Field(description="What is wanted.")


class Training(KindModel):
    """The full training of one network from nothing."""

    names: ClassVar[KindNames] = KindNames(
        plural="trainings",
        singular="training",
        short=("trn",),
        columns=(
            *ready_columns(),
            Column("Dataset", "string", ".spec.dataset.name", "What it learns from."),
            Column("Epoch", "integer", ".status.epoch", "Epochs that are over."),
            Column("Epochs", "integer", ".spec.schedule.epochs", "Epochs of the schedule."),
            Column("Value", "number", ".status.value", "Metric on the images held out."),
            Column("Metric", "string", ".status.metric", "Name of that metric.", wide=True),
            Column("Model", "string", ".spec.model.name", "What the network becomes."),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = TrainingStatus

    kind: Literal["Training"] = Field(description="Kind of this object.")
    spec: TrainingSpec = Field(description="What is wanted.")


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


Kind = Dataset | Search | Training | Model
KINDS: dict[str, type[Dataset] | type[Search] | type[Training] | type[Model]] = {
    "Dataset": Dataset,
    "Search": Search,
    "Training": Training,
    "Model": Model,
}


def to_document(model: SpecModel) -> dict[str, Any]:
    """Return `model` as the document a person would write: camelCase, nothing unset."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
