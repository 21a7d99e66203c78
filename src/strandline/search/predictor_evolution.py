"""Predictor-guided evolution: try the candidates a surrogate expects most of.

BANANAS (White et al. 2021, arXiv 1910.11858) with a Gaussian process instead of an
ensemble of networks: the first trials are drawn, spread over what is known of candidates
without training (zero-cost proxies); then mutations and crosses of the best, with random
candidates among them, are ranked by expected improvement (Jones et al. 1998) and the
first is tried. Candidates that are the same thing written differently are not tried
twice. Candidates being tried count as if they had given what is expected of them
(Ginsbourger et al. 2010, "kriging believer"), so that many workers do not all try one.

Values of trials that were stopped early are learned from, too, but every other decision goes by
full trainings alone: where short ones mislead, a search that heeds them never finds that out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from strandline.search.algorithm import Observation
from strandline.search.encoding import Blocks, Encoder, Floats
from strandline.search.fidelity import choose, gather
from strandline.search.moves import cross, mutate
from strandline.search.random import draw_new
from strandline.search.record import Learner, Unavailable
from strandline.search.space import Candidate, Space, candidate_key
from strandline.search.surrogate import Kernel, Surrogate, fit_kernel

# The hyperparameters are fitted anew when there is a tenth more to learn from, on so many
# of the observations; the posterior takes more of them.
_GROWTH = 1.1
_LARGEST_FIT = 150
_LARGEST_POSTERIOR = 200
_KERNELS_KEPT = 16
# Results that come later than this many times as many others as run at once are rare.
_LATE = 2
_KNOWN = 500
# Of the pool: random candidates, crosses of two parents, and mutations for the rest; every
# third mutation is one of a mutation.
_RANDOM_SHARE, _CROSS_SHARE = 0.3, 0.1
# Draws of which a start takes the one at its place in the order of the proxies.
_START_DRAWS = 32
# What begins in the dark is as large as the largest of so many draws: size alone ranks networks
# about as well as any proxy does (Krishnakumar et al. 2022, arXiv 2210.03230).
_LEAN = 4
# A random candidate stays in the pool for so many suggestions: knowing what it is costs more
# than asking what is expected of it.
_KEPT_IN_POOL = 3
_SMALL_SPACE = 20_000
_Rank = tuple[bool, float, int]
_START, _POOL, _RANDOM, _CROSS = 1, 2, 4, 5  # streams; 3 is another file's


class PredictorEvolution(Learner):
    """Evolution guided by a Gaussian process.

    Args:
        startup: trials drawn before the surrogate is asked.
        parents: so many of the best candidates are mutated and crossed.
        pool: candidates that the surrogate ranks for each suggestion.
        repeats: whether a candidate that was tried may be suggested again.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        startup: int = 10,
        parents: int = 10,
        pool: int = 300,
        repeats: bool = False,
    ) -> None:
        if min(startup, parents, pool) < 1:
            raise ValueError("startup, parents and pool must be at least 1")
        super().__init__(space, seed, repeats=repeats)
        self._startup = startup
        self._parents = parents
        self._pool = pool
        self._encoder = Encoder(space, seed)
        # Full trainings first, the best first; and the number last.
        self._ranked: list[_Rank] = []
        self._rank_of: dict[int, _Rank] = {}
        self._known: list[Observation] = []
        self._known_version = -1
        self._tried: set[str] = set()
        self._threads = ThreadpoolController()
        # A trial that waits is compared with the suggestion that would be made in its place.
        self._suggested: tuple[tuple[int, int, list[str]], Candidate | None] | None = None
        # By how many they were fitted to, the turn, and whether full trainings alone were
        # heard; with the last number of those.
        self._kernels: dict[tuple[int, int, bool], tuple[int, Kernel]] = {}
        self._drawn: dict[int, list[Candidate]] = {}
        # Where all there is fits the encoder's memory, new children cost no more than old ones.
        self._keeps_children = space.structure is not None and space.size() > _SMALL_SPACE
        self._children: dict[tuple[int, int], list[Candidate]] = {}

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        running = list(pending)
        asked = number, self._version, [candidate_key(candidate) for candidate in running]
        if self._suggested is None or self._suggested[0] != asked:
            self._suggested = asked, self._choose(number, running)
        return self._suggested[1]

    def thaw(self, number: int, frozen: Sequence[int], pending: Iterable[Candidate]) -> int | None:
        """Return the trial most is expected of, unless more is expected of a new candidate.

        Nobody goes on before there is enough to learn from: first steps cost the least.
        """
        running = list(pending)
        waiting = [self._fitting[each] for each in frozen if each in self._fitting]
        if not waiting:
            return None
        new = self.suggest(number, running)
        if len(self._fitting) < self._startup:
            best = max(waiting, key=lambda each: (_order(each), -each.number))
            return best.number if new is None else None
        asked = [each.candidate for each in waiting] + ([new] if new is not None else [])
        with self._threads.limit(limits=1, user_api="blas"):
            expected = self._expect(number, running, asked)
        place = int(expected[: len(waiting)].argmax())
        if new is not None and expected[-1] > expected[place]:
            return None
        return waiting[place].number

    def _choose(self, number: int, running: Sequence[Candidate]) -> Candidate | None:
        taken = self._unavailable(running)
        known = self._heard(number)
        if len(known) < self._startup:
            return self._draw_start(number, taken)
        pool = list(self._propose(number, known))
        # Matrices so small are slower on many threads, and trials need those.
        with self._threads.limit(limits=1, user_api="blas"):
            expected = self._expect(number, running, pool)
        # Telling what a candidate is the same as may cost more than all the rest.
        now = {self._space.canonical(candidate) for candidate in running}
        for place in np.argsort(-expected, kind="stable"):
            candidate = pool[int(place)]
            if candidate_key(candidate) in taken:
                continue
            canonical = self._space.canonical(candidate)
            if canonical not in now and (self._repeats or canonical not in self._tried):
                return candidate
        return draw_new(self._space, self._seed, number, taken)

    # ------------------------------------------------------------ what is known

    def _join(self, number: int, known: Sequence[Observation]) -> Sequence[Observation]:
        """Return the observations by the one value that suggestion `number` goes by."""
        return known

    def _turn(self, number: int) -> int:
        """Return which of several such values that is."""
        return 0

    def _heard(self, number: int) -> Sequence[Observation]:
        """Return the observations that suggestion `number` goes by."""
        known = self._observed()
        return self._join(number, _full(known) if self._alone(number) else known)

    def _alone(self, number: int) -> bool:
        """Return whether suggestion `number` goes by full trainings alone.

        Once there are enough of them to learn from, every other decision does: each begins a
        trial, which raises the number, or ends a full training, which raises their count.
        """
        full = bisect_left(self._ranked, (True,))
        return self._startup <= full < len(self._fitting) and (number + full) % 2 == 1

    def _observed(self) -> list[Observation]:
        """Return what there is to learn from: of very many observations the best and the newest.

        In the order of their numbers.
        """
        if self._known_version != self._version:
            if len(self._fitting) <= 2 * _KNOWN:
                self._known = self._usable()
            else:
                newest = self._newest(_KNOWN)
                older = (at for *_, at in self._ranked if at < newest[0].number)
                best = sorted(islice(older, _KNOWN))
                self._known = [self._fitting[at] for at in best] + newest
            self._known_version = self._version
        return self._known

    def _learn(self, observation: Observation, before: Observation | None) -> None:
        number = observation.number
        if before is not None:
            self._children.clear()  # it may have been their parent
        if (old := self._rank_of.pop(number, None)) is not None:
            del self._ranked[bisect_left(self._ranked, old)]
        if number in self._fitting:
            rank = (not observation.complete, -(observation.value or 0.0), number)
            self._rank_of[number] = rank
            insort(self._ranked, rank)
        if self._space.structure is not None and self._space.contains(observation.candidate):
            self._tried.add(self._space.canonical(observation.candidate))
        for key in [key for key, (last, _) in self._kernels.items() if number <= last]:
            del self._kernels[key]  # what it was fitted to has changed

    def _import(self, own: object) -> None:
        self._tried.clear()
        self._ranked.clear()
        self._rank_of.clear()
        self._kernels.clear()
        self._children.clear()
        self._known_version = -1
        self._suggested = None
        for observation in self._observations.values():
            self._learn(observation, None)

    # ------------------------------------------------------------ what may be tried

    def _draw_start(self, number: int, taken: Unavailable) -> Candidate | None:
        """Draw a candidate, spreading the start over what is known without training.

        Trials beyond `startup` begin before there are results because many run at once: they
        lean towards large networks.
        """
        structure = self._space.structure
        if structure is None:
            return draw_new(self._space, self._seed, number, taken)
        rng = self._rng(number, _START)
        drawn = [self._space.sample(rng) for _ in range(_START_DRAWS)]
        drawn = [candidate for candidate in drawn if candidate_key(candidate) not in taken]
        if not drawn:
            return draw_new(self._space, self._seed, number, taken)
        proxies = np.stack([structure.proxies(candidate) for candidate in drawn])
        ranks = proxies.argsort(0).argsort(0).mean(1)
        # Numbers 0, 1, 2, … are spread evenly whatever their count (van der Corput 1935).
        quantile = float(int(f"{number:032b}"[::-1], 2)) / 2**32
        if number >= self._startup:
            quantile = quantile ** (1 / _LEAN)
        return drawn[int(np.argsort(ranks, kind="stable")[int(quantile * len(drawn))])]

    def _propose(self, number: int, known: Sequence[Observation]) -> Iterator[Candidate]:
        """Return candidates near the best ones, and random ones."""
        parents = nlargest(self._parents, known, key=_order)
        count = self._pool - int(_RANDOM_SHARE * self._pool)
        crosses = int(_CROSS_SHARE * self._pool)
        yield from self._random_part(number)
        if self._keeps_children:
            yield from self._kept_part(number, parents, crosses, count - crosses)
            return
        rng = self._rng(number, _POOL)
        candidates = [each.candidate for each in parents]
        for place in range(count):
            parent = candidates[int(rng.integers(len(candidates)))]
            if place < crosses:
                other = candidates[int(rng.integers(len(candidates)))]
                yield cross(self._space, parent, other, rng)
            else:
                yield self._child(parent, place, rng)

    def _child(self, parent: Candidate, place: int, rng: np.random.Generator) -> Candidate:
        child = mutate(self._space, parent, rng)
        return child if place % 3 else mutate(self._space, child, rng)

    def _kept_part(
        self, number: int, parents: Sequence[Observation], crosses: int, children: int
    ) -> Iterator[Candidate]:
        """Yield crosses and mutations, two thirds of them as for the last two suggestions."""
        candidates = [each.candidate for each in parents]
        share = -(-children // (_KEPT_IN_POOL * len(parents)))
        kept: dict[tuple[int, int], list[Candidate]] = {}
        for each in range(max(0, number - _KEPT_IN_POOL + 1), number + 1):
            rng = self._rng(each, _CROSS)
            for _ in range(crosses // _KEPT_IN_POOL):
                one, other = rng.integers(len(candidates), size=2)
                yield cross(self._space, candidates[int(one)], candidates[int(other)], rng)
            for parent in parents:
                key = each, parent.number
                rng = self._rng(each, _POOL, parent.number)
                kept[key] = self._children.get(key) or [
                    self._child(parent.candidate, place, rng) for place in range(share)
                ]
                yield from kept[key]
        self._children = kept

    def _random_part(self, number: int) -> Iterator[Candidate]:
        """Yield random candidates: a third of them new, the others new to one of the last two."""
        share = -(-int(_RANDOM_SHARE * self._pool) // _KEPT_IN_POOL)
        for each in range(max(0, number - _KEPT_IN_POOL + 1), number + 1):
            if each not in self._drawn:
                rng = self._rng(each, _RANDOM)
                self._drawn[each] = [self._space.sample(rng) for _ in range(share)]
            yield from self._drawn[each]
        while len(self._drawn) > _KEPT_IN_POOL:
            del self._drawn[next(iter(self._drawn))]

    # ------------------------------------------------------------ what is expected

    def _expect(
        self,
        number: int,
        running: Sequence[Candidate],
        pool: list[Candidate],
    ) -> Floats:
        """Return the expected improvement of each candidate of the pool."""
        evidence = gather(self._heard(number))
        kernel = self._fit(number, len(running))
        chosen = choose(evidence, _LARGEST_POSTERIOR)
        blocks = self._encoder.encode([evidence.candidates[place] for place in chosen])
        low, scores = evidence.low[chosen], evidence.scores[chosen]
        surrogate = Surrogate(kernel, blocks, low, scores)
        best = float(surrogate.at_observed()[~low].max())
        if running:
            surrogate = _believe(surrogate, kernel, self._encoder, blocks, low, scores, running)
        mean, deviation = surrogate.predict(self._encoder.encode(pool))
        return expected_improvement(mean, deviation, best)

    def _fit(self, number: int, running: int) -> Kernel:
        """Return hyperparameters fitted to the first so many observations.

        A function of what is known alone, not of when it was asked: a search that is
        rebuilt from its trials goes on with the same ones.
        """
        alone = self._alone(number)
        key = self._settled(running), self._turn(number), alone
        if key not in self._kernels:
            while len(self._kernels) >= _KERNELS_KEPT:
                self._kernels.pop(next(iter(self._kernels)))
            known = self._usable()[: key[0]]
            last = known[-1].number  # one that is not full yet may be later
            if alone and (full := _full(known)):  # none of the settled ones may be full yet
                known = full
            evidence = gather(self._join(number, _most_telling(known)))
            chosen = choose(evidence, _LARGEST_FIT)
            blocks = self._encoder.encode([evidence.candidates[place] for place in chosen])
            kernel = fit_kernel(blocks, evidence.low[chosen], evidence.scores[chosen])
            self._kernels[key] = last, kernel
        return self._kernels[key][1]

    def _settled(self, running: int) -> int:
        """Return how many observations the hyperparameters are fitted to.

        Where many trials run at once, results still come among the last numbers, so those
        are left out: each result would mean another fit.
        """
        count = len(self._fitting)
        if running:
            last = self._numbers[-1] - _LATE * running
            early = self._numbers[: bisect_right(self._numbers, last)]
            settled = sum(number in self._fitting for number in early)
            count = settled if settled >= self._startup else count
        return _last_refit(count, self._startup)


def _most_telling(known: list[Observation]) -> list[Observation]:
    """Return the observations to learn from: of very many, the best and the newest."""
    if len(known) <= 2 * _KNOWN:
        return known
    best = nlargest(_KNOWN, known[:-_KNOWN], key=_order)
    return sorted(best, key=lambda each: each.number) + known[-_KNOWN:]


def _full(known: Sequence[Observation]) -> list[Observation]:
    """Return the full trainings."""
    return [each for each in known if each.complete]


def _order(observation: Observation) -> tuple[bool, float]:
    """Order observations: full trainings first, then by value."""
    return (observation.complete, observation.value or 0.0)


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return E[max(0, y - best)] for normal y of the given mean and deviation; [m]."""
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (z * ndtr(z) + density))


def _believe(
    surrogate: Surrogate,
    kernel: Kernel,
    encoder: Encoder,
    blocks: Blocks,
    low: NDArray[np.bool_],
    scores: Floats,
    running: Sequence[Candidate],
) -> Surrogate:
    """Return the surrogate that takes what it expects of the candidates running for given."""
    theirs = encoder.encode(running)
    joined = tuple(np.concatenate(pair) for pair in zip(blocks, theirs, strict=True))
    expected, _ = surrogate.predict(theirs)
    full = np.zeros(len(running), bool)
    return Surrogate(
        kernel, joined, np.concatenate([low, full]), np.concatenate([scores, expected])
    )


def _last_refit(known: int, startup: int) -> int:
    """Return at how many observations the hyperparameters were fitted last."""
    at = max(startup, 1)
    while (later := max(at + 1, int(at * _GROWTH))) <= known:
        at = later
    return at
