"""How far a Search is: counts and the best trial; rows live in the catalog."""

from __future__ import annotations

from pydantic import Field, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import LARGEST_EXACT_INT, Count, Name, Number, Time
from strandline.spec.rules import SpecModel, keyed_by
from strandline.spec.status import Status


class TrialCounts(SpecModel):
    """How many trials are in which state."""

    pending: Count = Field(default=0, description="Suggested, not started.")
    running: Count = Field(default=0, description="Running now.")
    completed: Count = Field(default=0, description="Ran to their end.")
    pruned: Count = Field(default=0, description="Stopped early: others did better.")
    failed: Count = Field(default=0, description="Died; the reason is in the trial's row.")


class BestTrial(SpecModel):
    """The best trial so far, by the first objective."""

    number: Count = Field(description="Number of the trial.")
    metric: StrictStr = Field(max_length=128, description="Name of the metric it is judged by.")
    value: StrictFloat = Field(description="Value of that metric.")


class ProxyQuality(SpecModel):
    """How well brief trainings of small networks rank cells, on trials drawn at random."""

    trials: StrictInt = Field(ge=2, le=LARGEST_EXACT_INT, description="Trials that were compared.")
    rank_correlation: StrictFloat = Field(
        ge=-1, le=1, description="Spearman's, between the search's ranking and the full one."
    )
    low: StrictFloat = Field(ge=-1, le=1, description="Lower end of its 95% interval (bootstrap).")
    high: StrictFloat = Field(ge=-1, le=1, description="Upper end of that.")
    cost_ratio: StrictFloat = Field(
        gt=0, description="Seconds of the full training by those of the trial, summed over them."
    )


class Forecast(SpecModel):
    """Where the best value is expected."""

    trials: Count = Field(description="Trials that will have ended when the budget is spent.")
    value: StrictFloat = Field(description="As likely to be surpassed as not.")
    low: StrictFloat = Field(description="Lower end of the 80% interval.")
    high: StrictFloat = Field(description="Upper end of the 80% interval.")


class PoolUse(SpecModel):
    """What a search or training has of one pool."""

    name: Name = Field(description="Name of the ComputePool.")
    workers: Count = Field(default=0, description="Workers that run trials now.")
    wanted: Count = Field(default=0, description="Workers that were asked for.")


class SearchStatus(Status):
    """How far a search is."""

    progress: StrictStr | None = Field(
        default=None,
        max_length=64,
        description="Trials that ended, of those in the budget, e.g. `12/64`.",
    )

    trials: TrialCounts | None = Field(default=None, description="Trials by state.")
    best: BestTrial | None = Field(default=None, description="Best trial so far.")
    reranked: list[BestTrial] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("number"),
        description="The best trials after the full training that decided, best first.",
    )
    device_hours: StrictFloat | None = Field(
        default=None,
        ge=0,
        description="Hours spent, summed over all trials' devices, counted as in the budget.",
    )
    cost: StrictFloat | None = Field(
        default=None,
        ge=0,
        description="Device-hours by their pools' prices, where those are known.",
    )
    forecast: Forecast | None = Field(
        default=None, description="Where the best value will be when the budget is spent."
    )
    pools: list[PoolUse] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("name"),
        description="Workers by pool.",
    )
    proxy: ProxyQuality | None = Field(
        default=None, description="How well the search's small networks rank cells."
    )
    model: Name | None = Field(default=None, description="Model that was registered.")
    model_version: Number | None = Field(
        default=None, description="Version of it that came from this search."
    )
    started_at: Time | None = Field(default=None, description="When it first started.")
    ended_at: Time | None = Field(default=None, description="When it last ended.")
