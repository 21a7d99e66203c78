"""Quasi-random search: points of a scrambled Sobol sequence (Owen 1998), evenly spread."""

from __future__ import annotations

from collections.abc import Iterable

from scipy.stats import qmc

from strandline.search.random import draw_new
from strandline.search.record import Learner
from strandline.search.space import Candidate, Parameter, candidate_key
from strandline.spec.records import Scalar


class QuasiRandomSearch(Learner):
    """Trial k is point k of the sequence; a random draw where that was tried already."""

    def suggest(self, number: int, pending: Iterable[Candidate]) -> Candidate | None:
        taken = self._unavailable(pending)
        sequence = qmc.Sobol(len(self._space.parameters), scramble=True, rng=self._seed)
        if number:  # SciPy cannot forward by nothing
            sequence.fast_forward(number)
        point = sequence.random(1)[0]
        units = dict(zip((p.name for p in self._space.parameters), point, strict=True))

        def choose(parameter: Parameter) -> Scalar:
            return parameter.from_unit(float(units[parameter.name]))

        candidate = self._space.walk(choose)
        if self._space.feasible(candidate) and candidate_key(candidate) not in taken:
            return candidate
        return draw_new(self._space, self._seed, number, taken)
