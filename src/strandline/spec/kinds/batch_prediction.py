"""BatchPrediction: one model version's answers to many images, written to a table."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import Count, Duration, Number, Time
from strandline.spec.kinds.base import KindModel
from strandline.spec.kinds.dataset import DatasetSource, ImportLimits
from strandline.spec.kinds.references import DatasetRef, DriverPlace, ModelRef, PoolRef
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.rules import Rule, SpecModel, keyed_by
from strandline.spec.status import Status


class TableFormat(StrEnum):
    """How answers are written."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class PredictionOutput(SpecModel):
    """Where the answers go."""

    uri: StrictStr = Field(
        min_length=1,
        max_length=2048,
        description="Folder or `s3://` prefix that the tables are written below, one for each "
        "part of the images. On a laptop a relative path starts at the folder of the document.",
    )
    format: TableFormat = Field(
        default=TableFormat.JSONL, description="jsonl, csv or parquet; one row an image."
    )


class BatchPredictionSpec(SpecModel):
    """Images that a model is to answer to."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.source) != has(self.dataset)",
            holds=lambda s: (s.source is None) != (s.dataset is None),
            message="the images come either from source or from dataset: give one of the two",
        ),
    )
    model: ModelRef = Field(description="Model version that answers.")
    source: DatasetSource | None = Field(
        default=None, description="Where the images come from, when they are in no Dataset."
    )
    dataset: DatasetRef | None = Field(
        default=None, description="Dataset whose images are taken, as they were imported."
    )
    output: PredictionOutput = Field(description="Where the answers go.")
    limits: ImportLimits = Field(
        default_factory=ImportLimits, description="What one image may cost."
    )
    threshold: StrictFloat | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Least confidence of an answer; as the model was calibrated if absent.",
    )
    abstain: StrictBool = Field(
        default=True,
        description="Below the threshold the answer is `I don't know`; otherwise the best guess.",
    )
    labels_shown: StrictInt = Field(
        default=5, ge=1, le=1000, description="Likeliest labels written for each image."
    )
    parallelism: StrictInt = Field(
        default=1, ge=1, le=10_000, description="Parts of the images that are worked on at once."
    )
    max_failed_items: Count | None = Field(
        default=None,
        description="End as failed when more images than this cannot be answered; none is too "
        "many if absent.",
    )
    pools: list[PoolRef] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("name"),
        description="ComputePools to run on, the preferred one first; if empty, the CPUs of any "
        "node. A laptop runs it here.",
    )
    driver: DriverPlace = Field(
        default_factory=DriverPlace,
        description="Where the work is led from; its workers may be on spot nodes.",
    )
    ttl: Duration | None = Field(
        default=None,
        description="How long the pods, with their logs, are kept after the end, e.g. `1h`; as "
        "the platform is set up if absent. The answers stay.",
    )
    suspend: StrictBool = Field(
        default=False, description="Hold the work; answers already written are kept."
    )


class BatchPredictionStatus(Status):
    """How far the answering is."""

    progress: StrictStr | None = Field(
        default=None, max_length=64, description="Images answered, of all, e.g. `1200/5000`."
    )
    total: Count | None = Field(default=None, description="Images to answer to.")
    done: Count | None = Field(default=None, description="Images answered.")
    failed: Count | None = Field(default=None, description="Images that could not be answered.")
    abstained: Count | None = Field(default=None, description="Answers that were I don't know.")
    rate: StrictFloat | None = Field(default=None, ge=0, description="Images a second, lately.")
    estimated_end: Time | None = Field(default=None, description="When it will end at that rate.")
    model_version: Number | None = Field(default=None, description="Version that answers.")
    output: StrictStr | None = Field(
        default=None, max_length=2048, description="Table of contents of what was written."
    )
    device_hours: StrictFloat | None = Field(
        default=None, ge=0, description="Hours spent, summed over all workers' devices."
    )
    cost: StrictFloat | None = Field(
        default=None,
        ge=0,
        description="Device-hours by their pools' prices, where those are known.",
    )
    started_at: Time | None = Field(default=None, description="When it first started.")
    ended_at: Time | None = Field(default=None, description="When it last ended.")


class BatchPrediction(KindModel):
    """A model version's answers to many images, written to a table."""

    names: ClassVar[KindNames] = KindNames(
        plural="batchpredictions",
        singular="batchprediction",
        short=("bp",),
        columns=(
            *ready_columns(),
            Column("Model", "string", ".spec.model.name", "Model that answers."),
            Column("Done", "string", ".status.progress", "Images answered, of all."),
            Column("Failed", "integer", ".status.failed", "Images not answered."),
            Column("Rate", "number", ".status.rate", "Images a second.", wide=True),
            Column("End", "string", ".status.estimatedEnd", "When it will end.", wide=True),
            Column("Hours", "number", ".status.deviceHours", "Device-hours spent.", wide=True),
            Column("Output", "string", ".spec.output.uri", "Where answers go.", wide=True),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = BatchPredictionStatus

    kind: Literal["BatchPrediction"] = Field(description="Kind of this object.")
    spec: BatchPredictionSpec = Field(description="What is wanted.")
