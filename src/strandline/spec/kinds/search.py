"""Search: look for the best way to classify a dataset."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import Duration, Name, is_some_time
from strandline.spec.kinds.base import KindModel
from strandline.spec.kinds.references import (
    DatasetRef,
    DriverPlace,
    ModelTarget,
    NamedChoice,
    PoolRef,
)
from strandline.spec.kinds.search_status import SearchStatus
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.networks import CellFamily, Network, Schedule
from strandline.spec.rules import Rule, SpecModel, keyed_by
from strandline.spec.search_space import Space, SpacePreset
from strandline.spec.status import Status


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
            holds=lambda b: is_some_time(b.time),
            message="the time of a budget must be above 0s",
        ),
    )
    trials: StrictInt | None = Field(default=None, ge=1, le=1_000_000, description="Most trials.")
    time: Duration | None = Field(default=None, description="Longest wall-clock time, e.g. `10m`.")
    device_hours: StrictFloat | None = Field(
        default=None,
        gt=0,
        description="Most hours summed over all trials' devices; the CPUs of one worker, and a "
        "TPU slice of several hosts, count as one.",
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


ONE_SHOT = frozenset({"enas", "darts"})
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
            holds=lambda s: is_some_time(s.trial_timeout),
            message="trialTimeout must be above 0s",
        ),
        Rule(
            cel="!has(self.rerank) || self.space.preset == 'cells'",
            holds=lambda s: s.rerank is None or s.space.preset is SpacePreset.CELLS,
            message="rerank belongs to the space preset cells",
        ),
        Rule(
            cel="!(self.algorithm.name in ['enas', 'darts']) || (has(self.rerank)"
            " && !has(self.space.parameters))",
            holds=lambda s: (
                s.algorithm.name not in ONE_SHOT
                or (s.rerank is not None and s.space.parameters is None)
            ),
            message="enas and darts need the space preset cells without parameters, and rerank: "
            "what their trials share is no model",
        ),
        Rule(
            cel="self.algorithm.name != 'darts' || !has(self.space.family)"
            " || self.space.family != 'mbconv'",
            holds=lambda s: s.algorithm.name != "darts" or s.space.family is not CellFamily.MBCONV,
            message="darts cannot relax the family mbconv, whose decisions about a stage all set "
            "the same convolutions: choose another family, or enas",
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
    pools: list[PoolRef] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("name"),
        description="ComputePools that trials run on, the preferred one first; where one gives "
        "no workers the next one does. If empty, the CPUs of any node. A laptop runs them here.",
    )
    driver: DriverPlace = Field(
        default_factory=DriverPlace,
        description="Where the search itself runs; its trials may be on spot nodes.",
    )
    ttl: Duration | None = Field(
        default=None,
        description="How long the pods, with their logs, are kept after the end, e.g. `1h`; as "
        "the platform is set up if absent. The search, its trials and its model stay.",
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


class Search(KindModel):
    """A search over backbones, heads and hyperparameters that ends in a Model."""

    names: ClassVar[KindNames] = KindNames(
        plural="searches",
        singular="search",
        short=("srch",),
        columns=(
            *ready_columns(),
            Column("Dataset", "string", ".spec.dataset.name", "What it learns from."),
            Column("Trials", "string", ".status.progress", "Trials that ended, of the budget's."),
            Column("Completed", "integer", ".status.trials.completed", "Ran through.", wide=True),
            Column("Pruned", "integer", ".status.trials.pruned", "Stopped early.", wide=True),
            Column("Failed", "integer", ".status.trials.failed", "Trials that died.", wide=True),
            Column("Best", "number", ".status.best.value", "Best value of the first objective."),
            Column("Metric", "string", ".status.best.metric", "The first objective.", wide=True),
            Column("Hours", "number", ".status.deviceHours", "Device-hours spent."),
            Column("Cost", "number", ".status.cost", "By the pools' prices.", wide=True),
            Column("Model", "string", ".spec.model.name", "What the best trial becomes."),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = SearchStatus

    kind: Literal["Search"] = Field(description="Kind of this object.")
    spec: SearchSpec = Field(description="What is wanted.")
