"""Bayesian optimisation with a Gaussian process over the parameters.

The candidate of the highest expected improvement is tried next (Jones et al. 1998), in
logarithms so that there is always a highest one (Ament et al. 2023, arXiv 2310.20708). It is
looked for among points that fill the space and, by smaller and smaller steps, around the best
of them. Parameters that a condition leaves out count as being in the middle of their range,
and that they are left out counts, too. Candidates being tried count as if they had given what
is expected of them (Ginsbourger et al. 2010, "kriging believer").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.special import log_ndtr, ndtr
from threadpoolctl import ThreadpoolController

from strandline.search.algorithm import Observation
from strandline.search.encoding import Floats
from strandline.search.matern import Matern, MaternPosterior, fit_matern
from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Space, candidate_key
from strandline.search.unit_cube import UnitCube

# Of very many observations so many of the best and so many of the newest are learned from;
# the hyperparameters are fitted anew when there is a tenth more, to the best and newest then.
_BEST, _NEWEST = 100, 100
_LARGEST_FIT = 120
_GROWTH = 1.1
# Points that fill the space; how many go on, with how many steps each, and how far.
_FILLING, _CLIMBERS, _STEPS = 500, 8, 25
_REACHES = (0.1, 0.03, 0.01, 0.003)
# Worse than that by so many quartile ranges, one value is as bad as the other.
_WORST = 3.0
# So many deviations below the best, the exact formula is lost to rounding.
_FAR = 30.0


class GaussianProcessSearch(Learner):
    """Bayesian optimisation over a space that may be conditional.

    Args:
        startup: trials drawn at random before it.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(self, space: Space, seed: int, startup: int = 10, repeats: bool = False) -> None:
        if startup < 2:
            raise ValueError("startup must be at least 2")
        super().__init__(space, seed, repeats=repeats)
        self._startup = startup
        self._cube = UnitCube(space)
        self._threads = ThreadpoolController()
        # To how many the hyperparameters were fitted, and the last number of those.
        self._fitted: tuple[int, int, Matern] | None = None
        self._points: dict[int, Floats] = {}

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        running = list(pending)
        taken = self._unavailable(running)
        known = self._telling(self._usable(), _BEST, _NEWEST)
        if len(known) >= self._startup:
            # Matrices so small are slower on many threads, and trials need those.
            with self._threads.limit(limits=1, user_api="blas"):
                ranked = self._climb(number, known, running)
            for point in ranked:
                candidate = self._cube.candidate(point)
                new = self._repeats or candidate_key(candidate) not in taken
                if new and self._space.feasible(candidate):
                    return candidate
        return draw_new(self._space, self._seed, number, taken)

    # ------------------------------------------------------------ what is known

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        self._points.pop(observation.number, None)
        if self._fitted is not None and observation.number <= self._fitted[1]:
            self._fitted = None  # what they were fitted to has changed

    def _import(self, own: object) -> None:
        self._points.clear()
        self._fitted = None

    def _kernel(self) -> Matern:
        """Return hyperparameters fitted to what was known when it was a tenth less.

        A function of what is known alone, not of when it was asked.
        """
        count = _last_refit(len(self._fitting), self._startup)
        if self._fitted is None or self._fitted[0] != count:
            usable = self._usable()[:count]
            told = self._telling(usable, _LARGEST_FIT // 2, _LARGEST_FIT // 2)
            columns = self._cube.columns(self._cube.points([each.candidate for each in told]))
            kernel = fit_matern(columns, self._cube.groups, _standardise(told))
            self._fitted = count, usable[-1].number, kernel
        return self._fitted[2]

    def _telling(self, usable: list[Observation], best: int, newest: int) -> list[Observation]:
        """Return what there is to learn from: of many, so many of the best and of the newest.

        Values of trials that were stopped early are no match for those of full ones: they
        count only while there is little else.
        """
        complete = [each for each in usable if each.complete]
        usable = complete if len(complete) >= self._startup else usable
        if len(usable) <= best + newest:
            return usable
        values = np.array([_value(each) for each in usable[:-newest]])
        chosen = np.sort(np.argsort(-values, kind="stable")[:best])
        return [usable[int(place)] for place in chosen] + usable[-newest:]

    def _observed_points(self, known: Sequence[Observation]) -> Floats:
        """Return the points of observations, those of the last time kept."""
        fresh = [each for each in known if each.number not in self._points]
        made = zip(fresh, self._cube.points([each.candidate for each in fresh]), strict=True)
        all_points = self._points | {each.number: point for each, point in made}
        self._points = {each.number: all_points[each.number] for each in known}
        return np.stack(list(self._points.values()))

    # ------------------------------------------------------------ where to look

    def _climb(
        self, number: int, known: Sequence[Observation], running: Sequence[Candidate]
    ) -> Floats:
        """Return points, the most promising first."""
        rng = self._rng(number)
        observed = self._observed_points(known)
        posterior = self._posterior(known, observed, running)
        best = float(posterior.at_observed()[: len(known)].max())

        def promise(points: Floats) -> Floats:
            return log_improvement(*posterior.predict(self._cube.columns(points)), best)

        leaders = observed[np.argsort([-_value(each) for each in known], kind="stable")]
        points = np.concatenate(
            [
                rng.random((_FILLING, observed.shape[1])),
                *_steps(leaders[:_CLIMBERS], _REACHES[0], rng),
            ]
        )
        promises = promise(points)
        for reach in _REACHES:
            top = points[np.argsort(-promises, kind="stable")[:_CLIMBERS]]
            steps = np.concatenate(list(_steps(top, reach, rng)))
            points = np.concatenate([points, steps])
            promises = np.concatenate([promises, promise(steps)])
        return np.asarray(points[np.argsort(-promises, kind="stable")])

    def _posterior(
        self, known: Sequence[Observation], observed: Floats, running: Sequence[Candidate]
    ) -> MaternPosterior:
        kernel, groups = self._kernel(), self._cube.groups
        columns, values = self._cube.columns(observed), _standardise(known)
        posterior = MaternPosterior(kernel, columns, groups, values)
        if not running:
            return posterior
        theirs = self._cube.columns(self._cube.points(running))
        expected, _ = posterior.predict(theirs)
        return MaternPosterior(
            kernel,
            np.concatenate([columns, theirs]),
            groups,
            np.concatenate([values, expected]),
        )


def log_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the log of the expected improvement, exact where that is next to nothing; [m]."""
    z = (mean - best) / deviation
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    # E = deviation * (density(z) + z * ndtr(z)); far below zero that is density / z².
    ratio = np.exp(log_ndtr(z) - log_density)
    near = np.log(np.maximum(1 + z * ratio, 1e-12)) + log_density
    far = log_density - 2 * np.log(np.maximum(np.abs(z), 1.0))
    high = np.log(np.maximum(np.exp(np.maximum(log_density, -700)) + z * ndtr(z), 1e-300))
    chosen = np.where(z > 0, high, np.where(z < -_FAR, far, near))
    return np.asarray(np.log(deviation) + chosen)


def _steps(points: Floats, reach: float, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield steps from each point: in one parameter, in all, or between; [steps, parameters]."""
    size = points.shape[1]
    for point in points:
        share = rng.choice([1 / size, 0.5, 1.0], size=(_STEPS, 1))
        moved = rng.random((_STEPS, size)) < share
        moved[np.arange(_STEPS), rng.integers(size, size=_STEPS)] = True
        steps = np.where(moved, reach * rng.standard_normal((_STEPS, size)), 0.0)
        yield np.clip(point + steps, 0.0, 1.0)


def _standardise(observations: Sequence[Observation]) -> Floats:
    """Return the values with mean 0 and deviation 1, very bad ones brought nearer; [n]."""
    values = np.array([_value(each) for each in observations])
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    if high > low:
        values = np.maximum(values, middle - _WORST * (high - low))
    deviation = values.std()
    return np.asarray((values - values.mean()) / (deviation if deviation > 0 else 1.0))


def _value(observation: Observation) -> float:
    return observation.value or 0.0


def _last_refit(known: int, startup: int) -> int:
    """Return at how many observations the hyperparameters were fitted last."""
    at = startup
    while (later := max(at + 1, int(at * _GROWTH))) <= known:
        at = later
    return at
