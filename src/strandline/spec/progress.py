"""How a search stands, for people and programs: what `search progress -o json` prints."""

from __future__ import annotations

from collections.abc import Mapping

from strandline.spec.records import FailureKind, Record, TrialState


class CurvePoint(Record):
    """The best value when it changed.

    Attributes:
        ended: trials that had ended by then, this one included.
        trial: that brought the value.
        device_seconds: spent in steps by then, summed over trials.
    """

    ended: int
    trial: int
    device_seconds: float
    value: float


class ValueForecast(Record):
    """Where the best value is expected.

    Attributes:
        trials: that will have ended by then.
        value: as likely to be surpassed as not.
        low, high: 80% interval.
    """

    trials: int
    value: float
    low: float
    high: float


class ChoiceImportance(Record):
    """How much of the differences between trials one choice explains by itself.

    Attributes:
        share: 0 to 1, with its 95% interval.
        trials: that had this choice to make.
    """

    name: str
    share: float
    low: float
    high: float
    trials: int


class FrontTrial(Record):
    """A trial that no other one betters in every objective.

    Attributes:
        values: of the objectives, as reported.
        within_limits: of all objectives.
    """

    trial: int
    values: Mapping[str, float]
    within_limits: bool


class FailureGroup(Record):
    """Trials that died of one reason.

    Attributes:
        trials: the newest of them, at most twenty.
        message: of the newest one.
        advice: what to do about it.
    """

    kind: FailureKind
    count: int
    trials: tuple[int, ...]
    message: str
    advice: str


class RerankedTrial(Record):
    """A trial whose network was trained fully after the search.

    Attributes:
        searched: its value in the search, None when it has none there any more.
        value: after the full training, which decides.
    """

    trial: int
    searched: float | None
    value: float


class ProxyReport(Record):
    """How well the search's brief trainings rank candidates, by trials drawn at random.

    Attributes:
        trials: that were trained fully as well, for this.
        rank_correlation: Spearman's, -1 to 1, with its 95% interval.
        cost_ratio: seconds of the full training by those of the brief one.
    """

    trials: int
    rank_correlation: float
    low: float
    high: float
    cost_ratio: float

    def in_words(self) -> str:
        """Return it as a sentence."""
        return (
            f"Of {self.trials} trials drawn at random, the ranking by the search and that by full "
            f"training have a correlation of {self.rank_correlation:.2f} (Spearman's, 1 is the "
            f"same ranking; 95%: {self.low:.2f} to {self.high:.2f}); full training takes "
            f"{self.cost_ratio:.1f} times as long."
        )


class ProgressReport(Record):
    """How a search stands.

    Attributes:
        metric, maximize: the first objective.
        counts: trials by state.
        best: the newest point of the curve, None when no trial was completed.
        curve: the best value each time it changed; values of completed trials within limits,
            where there are any.
        at_budget: where the best will be when the budget is spent; None while it runs with
            too little to judge by, and after its end.
        at_double: when a doubled budget is spent.
        no_forecast: why there is none; empty when there is one.
        importances: the greatest first; empty with too few trials.
        front: of several objectives, the best of the first one first.
        reranked: the chosen trial first, by the first objective; empty until a first full
            training has ended, which a search that goes on keeps until the next one.
        proxy: None when no trials were drawn for it.
        failures: the most frequent first.
        steps: how many trials did so many steps at least, of all that did one.
    """

    search: str
    metric: str
    maximize: bool
    counts: Mapping[TrialState, int]
    device_seconds: float
    best: CurvePoint | None
    curve: tuple[CurvePoint, ...]
    at_budget: ValueForecast | None
    at_double: ValueForecast | None
    no_forecast: str
    importances: tuple[ChoiceImportance, ...]
    front: tuple[FrontTrial, ...]
    reranked: tuple[RerankedTrial, ...]
    proxy: ProxyReport | None
    failures: tuple[FailureGroup, ...]
    steps: Mapping[int, int]
