"""Dataset: a set of labeled images, versioned."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import LARGEST_EXACT_INT, Count, Duration, Number, Subdomain
from strandline.spec.kinds.base import KindModel
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.records import Task
from strandline.spec.rules import Rule, SpecModel, keyed_by
from strandline.spec.status import Status


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
    secret: Subdomain | None = Field(
        default=None,
        description="Secret in the same namespace with `accessKey` and `secretKey`, and "
        "optionally `endpoint` and `region`, for an `s3://` address; the platform's own if "
        "absent. A laptop takes them from its environment.",
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
    ttl: Duration | None = Field(
        default=None,
        description="How long the import's pod, with its log, is kept after the end, e.g. `1h`; "
        "as the platform is set up if absent. The dataset and its versions stay.",
    )


class RefusalCount(SpecModel):
    """Files that an import left out for one reason."""

    reason: StrictStr = Field(min_length=1, max_length=63, description="Why, in one word.")
    count: Count = Field(description="How many.")
    example: StrictStr | None = Field(
        default=None, max_length=1024, description="One of them, by its path."
    )


class DatasetStatus(Status):
    """The newest version of a dataset."""

    progress: StrictStr | None = Field(
        default=None,
        max_length=64,
        description="Images read by the import that runs, of all where that is known, e.g. "
        "`1200/5000`.",
    )

    version: Number | None = Field(default=None, description="Number of the newest version.")
    digest: StrictStr | None = Field(
        default=None, max_length=71, description="Digest of the newest version."
    )
    items: Count | None = Field(default=None, description="Distinct images.")
    labeled: Count | None = Field(default=None, description="Images that have labels.")
    labels: Count | None = Field(default=None, description="Number of different labels.")
    refused: Count | None = Field(default=None, description="Files the import left out.")
    refusals: list[RefusalCount] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=keyed_by("reason"),
        description="Files left out, by reason, the most frequent first.",
    )


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
            Column("Progress", "string", ".status.progress", "Of the import.", wide=True),
            Column("Source", "string", ".spec.source.uri", "Where it comes from.", wide=True),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = DatasetStatus

    kind: Literal["Dataset"] = Field(description="Kind of this object.")
    spec: DatasetSpec = Field(description="What is wanted.")
