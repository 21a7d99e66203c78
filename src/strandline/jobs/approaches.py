"""How a Search learns: heads on pretrained features, or networks trained from nothing.

The two differ in what a candidate is, what tries it, and what the best one becomes;
searching, calibration, evaluation and packing are the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from strandline.ports import TrainableFactory
from strandline.search.engine import Affordable
from strandline.search.space import Candidate, Constraint, Space
from strandline.spec.records import DatasetVersion, Scalar
from strandline.spec.v1alpha1 import ONE_SHOT, SearchSpec, SpacePreset, parse_duration

if TYPE_CHECKING:
    from strandline.learn.heads.contract import Floats
    from strandline.learn.one_shot.trials import SharingFactory
    from strandline.learn.refit import Refitted
    from strandline.learn.transfer_data import TransferData

Progress = Callable[[int, int], None]

_SHARING_PART = 0.5
"""Of a budget in time: after that no other epoch of shared weights begins."""
_CHILDREN = 100
"""Drawn from the trained policy when the budget does not say how many are tried."""


class Approach(Protocol):
    """One way to learn, for one search.

    Attributes:
        keep_best: the model is made from the best trial's checkpoint.
        data: as this approach divides it; the test images are not in it.
    """

    keep_best: bool
    data: TransferData

    def space(self) -> tuple[Space, Sequence[Candidate]]:
        """Return the space, and the candidates to try first."""

    def factory(self) -> TrainableFactory:
        """Return what makes the body of trials inside a worker."""

    def affordable(self, later_images: Sequence[str]) -> Affordable | None:
        """Return what tells candidates that would end too late; `later_images` come after."""

    def refit(
        self, candidate: Mapping[str, Scalar], checkpoint: bytes | None, progress: Progress
    ) -> Refitted:
        """Make the model of the best candidate."""

    def score_leaking(
        self, data: TransferData, candidate: Mapping[str, Scalar], images: Sequence[str]
    ) -> Floats | None:
        """Score `images` by the candidate fitted on `data`; None when that costs too much."""


def choose_approach(spec: SearchSpec, version: DatasetVersion, data: TransferData) -> Approach:
    """Return the approach that the search's space asks for."""
    if spec.algorithm.name in ONE_SHOT:
        return OneShotApproach(spec, data)
    if spec.space.preset is SpacePreset.CELLS:
        return ScratchApproach(spec, data)
    return TransferApproach(spec, version, data)


class TransferApproach:
    """Heads on pretrained features, and fine-tuning of the last stages."""

    keep_best = False

    def __init__(self, spec: SearchSpec, version: DatasetVersion, data: TransferData) -> None:
        self._spec, self._task = spec, version.task
        self.data = data

    def space(self) -> tuple[Space, Sequence[Candidate]]:
        from strandline.learn.custom_space import custom_space
        from strandline.learn.transfer_space import default_candidates, transfer_space
        from strandline.zoo import backbones

        written = self._spec.space
        chosen = tuple(written.backbones or backbones.names(written.effort))
        if written.preset is SpacePreset.CUSTOM:
            return custom_space(written, chosen, self._task), ()
        constraints = tuple(Constraint(text) for text in written.constraints or ())
        space = transfer_space(written.effort, chosen, self._task)
        defaults = default_candidates(written.effort, chosen, self._task)
        return replace(space, constraints=constraints), defaults

    def factory(self) -> TrainableFactory:
        from strandline.learn.transfer import TransferFactory

        return TransferFactory(self.data)

    def affordable(self, later_images: Sequence[str]) -> Affordable | None:
        from strandline.learn.cost import CostModel

        if self.data.elsewhere is not None:
            return None  # neither their speed nor what they have cached is known here
        return CostModel(self.data, later_images).affordable

    def refit(
        self, candidate: Mapping[str, Scalar], checkpoint: bytes | None, progress: Progress
    ) -> Refitted:
        from strandline.learn.refit import refit

        return refit(self.data, candidate, progress)

    def score_leaking(
        self, data: TransferData, candidate: Mapping[str, Scalar], images: Sequence[str]
    ) -> Floats | None:
        from strandline.learn.refit import fit_and_score

        return fit_and_score(data, candidate, images)


class ScratchApproach:
    """Networks of cells, trained from nothing."""

    keep_best = True

    def __init__(self, spec: SearchSpec, data: TransferData) -> None:
        from strandline.learn.transfer_data import hold_out

        self._spec = spec
        self.data = hold_out(data, spec.space.images)

    def space(self) -> tuple[Space, Sequence[Candidate]]:
        from strandline.learn.scratch.recipe import scratch_space

        return scratch_space(self._spec.space, len(self.data.labels)), ()

    def factory(self) -> TrainableFactory:
        from strandline.learn.scratch.trials import ScratchFactory

        threads = self.data.threads(self._spec.parallelism)
        objectives = tuple(each.metric for each in self._spec.objectives)
        return ScratchFactory(self.data, self._spec.space, objectives, threads)

    def affordable(self, later_images: Sequence[str]) -> Affordable | None:
        return None

    def refit(
        self, candidate: Mapping[str, Scalar], checkpoint: bytes | None, progress: Progress
    ) -> Refitted:
        from strandline.learn.scratch.finish import finish_network

        return finish_network(self.data, self._spec.space, candidate, checkpoint, progress)

    def score_leaking(
        self, data: TransferData, candidate: Mapping[str, Scalar], images: Sequence[str]
    ) -> Floats | None:
        return None  # it would take a second training as long as the first


class OneShotApproach(ScratchApproach):
    """Networks of cells that share weights, which are trained before the first trial.

    No trial's weights are worth keeping: the best cells are trained by themselves in the end.
    """

    keep_best = False

    def __init__(self, spec: SearchSpec, data: TransferData) -> None:
        super().__init__(spec, data)
        self._shared: bytes | None = None

    def sharing_factory(self) -> SharingFactory:
        """Return what makes the body of the training of the shared weights."""
        from strandline.learn.one_shot.trials import SharingFactory

        return SharingFactory(
            self.data,
            self._spec.space,
            self._spec.algorithm,
            self.sharing_seconds,
            self.data.threads(1),
        )

    @property
    def sharing_seconds(self) -> float | None:
        """How long the shared weights may be trained; None for all epochs."""
        time = self._spec.budget.time
        return parse_duration(time).total_seconds() * _SHARING_PART if time else None

    @property
    def epochs(self) -> int:
        """How many epochs the shared weights are trained, if time allows."""
        from strandline.learn.one_shot.children import make_policy

        return make_policy(super().space()[0], self._spec.seed, self._spec.algorithm).epochs

    def take(self, shared: bytes) -> None:
        """Go on with weights that were trained."""
        self._shared = shared

    def space(self) -> tuple[Space, Sequence[Candidate]]:
        """Return the space, and children drawn by the trained policy to try first."""
        space, _ = super().space()
        if self._shared is None:
            return space, ()
        from strandline.learn.one_shot.children import draw_children

        written, labels = self._spec.space, len(self.data.labels)
        count = self._spec.budget.trials or _CHILDREN
        chosen, seed = self._spec.algorithm, self._spec.seed
        return space, draw_children(self._shared, written, labels, chosen, seed, count)

    def factory(self) -> TrainableFactory:
        from strandline.learn.one_shot.trials import ChildFactory

        assert self._shared is not None, "weights are shared first"
        objectives = tuple(each.metric for each in self._spec.objectives)
        threads = self.data.threads(self._spec.parallelism)
        return ChildFactory(
            replace(self.sharing_factory(), threads=threads), self._shared, objectives
        )
