"""What is observed about each kind: the `status` that Strandline writes, never a person.

The shapes follow the Kubernetes API conventions: `observedGeneration` tells which spec
the status speaks of, conditions tell the state with a reason, lists are bounded (trial
rows live in the catalog; only counts and the best trial are here).
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from strandline.spec.fields import Name
from strandline.spec.rules import SpecModel, keyed_by


class Condition(SpecModel):
    """One aspect of the state (metav1.Condition)."""

    type: str = Field(
        min_length=1,
        max_length=316,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        description="Aspect: Ready, Reconciling, Stalled, Complete, Failed, Suspended.",
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="`metadata.generation` that this speaks of."
    )
    last_transition_time: datetime = Field(description="When `status` last changed.")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="One CamelCase word for programs.",
    )
    message: str = Field(max_length=32768, description="A sentence for people.")


class Status(SpecModel):
    """What every kind's status holds."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="Newest `metadata.generation` that was acted upon."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("type"),
        description="The state, one entry an aspect.",
    )


class DatasetStatus(Status):
    """The newest version of a dataset."""

    version: int | None = Field(default=None, ge=1, description="Number of the newest version.")
    digest: str | None = Field(
        default=None, max_length=71, description="Digest of the newest version."
    )
    items: int | None = Field(default=None, ge=0, description="Distinct images.")
    labeled: int | None = Field(default=None, ge=0, description="Images that have labels.")
    labels: int | None = Field(default=None, ge=0, description="Number of different labels.")
    refused: int | None = Field(default=None, ge=0, description="Files the import left out.")


class TrialCounts(SpecModel):
    """How many trials are in which state."""

    pending: int = Field(default=0, ge=0, description="Suggested, not started.")
    running: int = Field(default=0, ge=0, description="Running now.")
    completed: int = Field(default=0, ge=0, description="Ran to their end.")
    pruned: int = Field(default=0, ge=0, description="Stopped early: others did better.")
    failed: int = Field(default=0, ge=0, description="Died; the reason is in the trial's row.")


class BestTrial(SpecModel):
    """The best trial so far, by the first objective."""

    number: int = Field(ge=0, description="Number of the trial.")
    metric: str = Field(max_length=128, description="Name of the metric it is judged by.")
    value: float = Field(description="Value of that metric.")


class ProxyQuality(SpecModel):
    """How well brief trainings of small networks rank cells, on trials drawn at random."""

    trials: int = Field(ge=2, description="Trials that were compared.")
    rank_correlation: float = Field(
        ge=-1, le=1, description="Spearman's, between the search's ranking and the full one."
    )
    low: float = Field(ge=-1, le=1, description="Lower end of its 95% interval (bootstrap).")
    high: float = Field(ge=-1, le=1, description="Upper end of that.")
    cost_ratio: float = Field(
        gt=0, description="Seconds of the full training by those of the trial, summed over them."
    )


class SearchStatus(Status):
    """How far a search is."""

    trials: TrialCounts | None = Field(default=None, description="Trials by state.")
    best: BestTrial | None = Field(default=None, description="Best trial so far.")
    reranked: list[BestTrial] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("number"),
        description="The best trials after the full training that decided, best first.",
    )
    proxy: ProxyQuality | None = Field(
        default=None, description="How well the search's small networks rank cells."
    )
    model: Name | None = Field(default=None, description="Model that was registered.")
    model_version: int | None = Field(
        default=None, ge=1, description="Version of it that came from this search."
    )
    started_at: datetime | None = Field(default=None, description="When it first started.")
    ended_at: datetime | None = Field(default=None, description="When it last ended.")


class TrainingStatus(Status):
    """How far a training is."""

    epoch: int | None = Field(default=None, ge=0, description="Epochs that are over.")
    metric: str | None = Field(
        default=None, max_length=128, description="Name of the metric it is judged by."
    )
    value: float | None = Field(default=None, description="Value of that metric.")
    model: Name | None = Field(default=None, description="Model that was registered.")
    model_version: int | None = Field(
        default=None, ge=1, description="Version of it that came from this training."
    )


class ModelStatus(Status):
    """The versions of a model."""

    versions: int | None = Field(default=None, ge=0, description="Number of versions.")
    version: int | None = Field(default=None, ge=1, description="Version that predicts.")
    task: str | None = Field(default=None, max_length=63, description="Task of that version.")
    labels: int | None = Field(default=None, ge=0, description="Number of its labels.")
    dataset: Name | None = Field(default=None, description="Dataset it was trained on.")
    headline: str | None = Field(
        default=None, max_length=128, description="Its headline metric on the test split."
    )
