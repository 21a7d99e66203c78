"""Training: one network, trained fully from nothing."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import (
    LARGEST_EXACT_INT,
    Count,
    Duration,
    Name,
    Number,
    Setting,
    is_some_time,
)
from strandline.spec.kinds.base import KindModel
from strandline.spec.kinds.references import DatasetRef, DriverPlace, ModelTarget
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.networks import CellFamily, Network, Schedule
from strandline.spec.rules import Rule, SpecModel
from strandline.spec.status import Status


class CellSource(SpecModel):
    """Which cell a network is built of: one that a Search found, or one written out."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # What a map of mixed values holds is unknown to CEL: dyn lets it look all the same.
            cel="has(self.search) != has(self.family)"
            " && has(self.family) == has(dyn(self).genotype)",
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
    genotype: dict[StrictStr, Setting] | None = Field(
        default=None, max_length=256, description="Every decision of the cell by its name."
    )


class TrainingSpec(SpecModel):
    """The full training of one network from nothing."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.epochTimeout) || self.epochTimeout.matches('[1-9]')",
            holds=lambda s: is_some_time(s.epoch_timeout),
            message="epochTimeout must be above 0s",
        ),
        Rule(
            cel="!has(self.minWorkers) || self.minWorkers <= self.workers",
            holds=lambda s: s.min_workers is None or s.min_workers <= s.workers,
            message="minWorkers must not be above workers: lower it, or raise workers",
        ),
        Rule(
            cel="self.workers <= self.schedule.batchSize",
            holds=lambda s: s.workers <= s.schedule.batch_size,
            message="workers must not be above schedule.batchSize: each needs an image of a batch",
        ),
    )
    dataset: DatasetRef = Field(description="What to learn from.")
    cell: CellSource = Field(description="What the network is built of.")
    network: Network = Field(default_factory=Network, description="What the cell is stacked into.")
    schedule: Schedule = Field(default_factory=Schedule, description="How it is trained.")
    epoch_timeout: Duration | None = Field(default=None, description="Longest time of one epoch.")
    pool: Name | None = Field(
        default=None,
        description="ComputePool that it runs on; the CPUs of any node if absent. A laptop "
        "trains here.",
    )
    workers: StrictInt = Field(
        default=1,
        ge=1,
        le=1024,
        description="Workers that learn together, each from its share of every batch; how many "
        "there are does not change what is learned. Each has all devices of a worker of the pool.",
    )
    min_workers: StrictInt | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Start, and go on, with as few as these while others are missing; with all "
        "of them if absent.",
    )
    driver: DriverPlace = Field(
        default_factory=DriverPlace,
        description="Where the training is led from; its workers may be on spot nodes.",
    )
    ttl: Duration | None = Field(
        default=None,
        description="How long the pods, with their logs, are kept after the end, e.g. `1h`; as "
        "the platform is set up if absent. The training, its checkpoints and its model stay.",
    )
    seed: StrictInt = Field(
        default=0, ge=0, le=2**31 - 1, description="Seed of every random choice."
    )
    suspend: StrictBool = Field(default=False, description="Hold the training; its state is kept.")
    model: ModelTarget | None = Field(
        default=None, description="Register the network as a version of this Model."
    )


class TrainingStatus(Status):
    """How far a training is."""

    epoch: Count | None = Field(default=None, description="Epochs that are over.")
    metric: StrictStr | None = Field(
        default=None, max_length=128, description="Name of the metric it is judged by."
    )
    value: StrictFloat | None = Field(default=None, description="Value of that metric.")
    workers: Count | None = Field(default=None, description="Workers that learn now.")
    device_hours: StrictFloat | None = Field(
        default=None, ge=0, description="Hours spent, summed over all workers' devices."
    )
    cost: StrictFloat | None = Field(
        default=None, ge=0, description="Device-hours by the pool's price, where that is known."
    )
    model: Name | None = Field(default=None, description="Model that was registered.")
    model_version: Number | None = Field(
        default=None, description="Version of it that came from this training."
    )


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
