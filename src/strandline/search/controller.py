"""The controller: a recurrent network that writes a candidate down, one choice at a time.

Zoph & Le 2016 (arXiv 1611.01578): an LSTM of two layers; each choice is a softmax over what
the parameter may be, and goes in as an embedding before the next one. Small enough that its
gradients are written out here, so that deciding needs no network library.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strandline.search.encoding import Floats
from strandline.search.parameters import Parameter
from strandline.search.space import Candidate, Space
from strandline.spec.records import Scalar

# Levels that a number is cut into.
_LEVELS = 10
_DECAYS = (0.9, 0.999)
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Moment:
    """What one pass through the layers leaves for its gradient, one entry a layer.

    Attributes:
        inputs: [n, 2 width + 1]: of the layer, its own last output and a constant.
        gates: [4, n, width]: input, forget, output, candidate.
        before, after: (output, cell), each [n, width].
    """

    inputs: list[Floats]
    gates: list[Floats]
    before: list[tuple[Floats, Floats]]
    after: list[tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class _Step:
    """One choice of those candidates that have the parameter.

    Attributes:
        place: of the parameter.
        rows: [n], which candidates have it.
        choices: [n], the option of each.
        sources: [n], rows of the embedding that went in.
        probabilities: [n, options].
    """

    place: int
    rows: Places
    choices: Places
    sources: Places
    moment: _Moment
    probabilities: Floats


class Controller:
    """A policy over the candidates of a space.

    Candidates are worked on side by side: a step of the network costs next to the same for
    one as for fifty.

    Args:
        width: units of each layer.
        layers: of the network.
        spread: weights begin uniform in [-spread, spread].
    """

    def __init__(
        self, space: Space, seed: int, *, width: int = 35, layers: int = 2, spread: float = 0.08
    ) -> None:
        self._space = space
        self._options = [options_of(parameter) for parameter in space.parameters]
        self._width, self._layers = width, layers
        offsets = np.cumsum([1, *(len(options) for options in self._options)])
        self._first = [int(offset) for offset in offsets[:-1]]
        rng = np.random.default_rng([seed, width])
        shapes = {"embedding": (int(offsets[-1]), width)}
        for layer in range(layers):
            shapes[f"lstm{layer}"] = (4 * width, 2 * width + 1)
        for place, options in enumerate(self._options):
            shapes[f"softmax{place}"] = (len(options), width + 1)
        self.weights: dict[str, Floats] = {
            name: rng.uniform(-spread, spread, shape) for name, shape in shapes.items()
        }

    def sample(self, rng: np.random.Generator, count: int) -> list[Candidate]:
        """Draw candidates from the policy; whether they hold the constraints is not asked."""
        drawn: list[dict[str, Scalar]] = [{} for _ in range(count)]
        for step in self._run(drawn, rng):
            name, options = self._space.parameters[step.place].name, self._options[step.place]
            for row, choice in zip(step.rows.tolist(), step.choices.tolist(), strict=True):
                drawn[row][name] = options[choice]
        return list(drawn)

    def log_probabilities(self, candidates: Sequence[Candidate]) -> Floats:
        """Return the logarithm of the probability that the policy writes each candidate, [n]."""
        total = np.zeros(len(candidates))
        for step in self._run(candidates, None):
            total[step.rows] += np.log(step.probabilities[np.arange(len(step.rows)), step.choices])
        return total

    def gradient(
        self, candidates: Sequence[Candidate], weights: Floats, entropy: float
    ) -> dict[str, Floats]:
        """Return the gradient of Σ weight · log p(candidate) + entropy · H, by weights' name.

        Args:
            weights: [n], of the candidates.
        """
        steps = list(self._run(candidates, None))
        gradient = {name: np.zeros_like(array) for name, array in self.weights.items()}
        width = self._width
        hidden = [np.zeros((len(candidates), width)) for _ in range(self._layers)]
        cell = [np.zeros((len(candidates), width)) for _ in range(self._layers)]
        for step in reversed(steps):
            rows, softmax = step.rows, f"softmax{step.place}"
            slope = _softmax_slope(step, weights[rows], entropy)
            gradient[softmax] += slope.T @ _with_constant(step.moment.after[-1][0])
            down = slope @ self.weights[softmax][:, :width]
            for layer in reversed(range(self._layers)):
                into = self._layer_slope(step, layer, hidden[layer][rows] + down, cell, gradient)
                down, hidden[layer][rows] = into[:, :width], into[:, width : 2 * width]
            np.add.at(gradient["embedding"], step.sources, down)
        return gradient

    # ------------------------------------------------------------ inside

    def _run(
        self, candidates: Sequence[Candidate], rng: np.random.Generator | None
    ) -> Iterator[_Step]:
        """Yield the steps that write the candidates, or draw them when there is `rng`.

        When drawing, the caller adds the choices to `candidates` before it asks for the next.
        """
        count = len(candidates)
        states = [
            (np.zeros((count, self._width)), np.zeros((count, self._width)))
            for _ in range(self._layers)
        ]
        sources = np.zeros(count, np.int64)
        for place, parameter in enumerate(self._space.parameters):
            rows = _having(parameter, candidates)
            if not len(rows):
                continue
            before = sources[rows]
            everyone = len(rows) == count
            theirs = states if everyone else [(out[rows], cell[rows]) for out, cell in states]
            moment = self._advance(before, theirs)
            odds = self._softmax(place, moment.after[-1][0])
            if rng is not None:
                choices = _draw(odds, rng)
            else:
                options, name = self._options[place], parameter.name
                values = [candidates[row][name] for row in rows.tolist()]
                choices = np.array([nearest_option(parameter, options, each) for each in values])
            yield _Step(place, rows, choices, before, moment, odds)
            sources[rows] = self._first[place] + choices
            if everyone:
                states = moment.after
                continue
            # The arrays of the last step are kept for its gradient.
            states = [(out.copy(), cell.copy()) for out, cell in states]
            for (out, cell), (new_out, new_cell) in zip(states, moment.after, strict=True):
                out[rows], cell[rows] = new_out, new_cell

    def _advance(self, sources: Places, states: list[tuple[Floats, Floats]]) -> _Moment:
        flow = self.weights["embedding"][sources]
        moment = _Moment([], [], states, [])
        for layer, (hidden, cell) in enumerate(states):
            joined = _with_constant(flow, hidden)
            raw = joined @ self.weights[f"lstm{layer}"].T
            gates = raw.reshape(len(sources), 4, -1).swapaxes(0, 1)
            gates = np.concatenate([_sigmoid(gates[:3]), np.tanh(gates[3:])])
            cell_after = gates[1] * cell + gates[0] * gates[3]
            flow = gates[2] * np.tanh(cell_after)
            moment.inputs.append(joined)
            moment.gates.append(gates)
            moment.after.append((flow, cell_after))
        return moment

    def _softmax(self, place: int, hidden: Floats) -> Floats:
        logits = _with_constant(hidden) @ self.weights[f"softmax{place}"].T
        raised = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(raised / raised.sum(1, keepdims=True))

    def _layer_slope(
        self,
        step: _Step,
        layer: int,
        slope: Floats,
        cell: list[Floats],
        gradient: dict[str, Floats],
    ) -> Floats:
        """Add the layer's gradient and return the slope of its inputs, [n, 2 width + 1]."""
        enter, forget, leave, write = step.moment.gates[layer]
        bent = np.tanh(step.moment.after[layer][1])
        inner = cell[layer][step.rows] + slope * leave * (1 - bent**2)
        raw = np.concatenate(
            [
                inner * write * enter * (1 - enter),
                inner * step.moment.before[layer][1] * forget * (1 - forget),
                slope * bent * leave * (1 - leave),
                inner * enter * (1 - write**2),
            ],
            1,
        )
        cell[layer][step.rows] = inner * forget
        gradient[f"lstm{layer}"] += raw.T @ step.moment.inputs[layer]
        return np.asarray(raw @ self.weights[f"lstm{layer}"])


class Adam:
    """Adam (Kingma & Ba 2015), climbing."""

    def __init__(self, weights: Mapping[str, Floats], rate: float) -> None:
        self._rate = rate
        self._count = 0
        self._first = {name: np.zeros_like(array) for name, array in weights.items()}
        self._second = {name: np.zeros_like(array) for name, array in weights.items()}

    def climb(self, weights: dict[str, Floats], gradient: Mapping[str, Floats]) -> None:
        """Move the weights up the gradient, in place."""
        self._count += 1
        one, two = _DECAYS
        for name, slope in gradient.items():
            self._first[name] = one * self._first[name] + (1 - one) * slope
            self._second[name] = two * self._second[name] + (1 - two) * slope**2
            first = self._first[name] / (1 - one**self._count)
            second = self._second[name] / (1 - two**self._count)
            weights[name] += self._rate * first / (np.sqrt(second) + 1e-8)

    def export(self) -> dict[str, Any]:
        """Return the state as JSON can hold it."""
        return {
            "count": self._count,
            "first": pack(self._first),
            "second": pack(self._second),
        }

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Take up what `export` gave."""
        self._count = int(state["count"])
        self._first = unpack(state["first"], self._first)
        self._second = unpack(state["second"], self._second)


def pack(arrays: Mapping[str, Floats]) -> dict[str, str]:
    """Return arrays as texts, bit for bit."""
    return {name: base64.b64encode(a.tobytes()).decode() for name, a in arrays.items()}


def unpack(texts: Mapping[str, str], like: Mapping[str, Floats]) -> dict[str, Floats]:
    """Undo `pack`. Raises ValueError, KeyError for arrays that are not like these."""
    return {
        name: np.frombuffer(base64.b64decode(texts[name])).reshape(array.shape).copy()
        for name, array in like.items()
    }


def options_of(parameter: Parameter) -> tuple[Scalar, ...]:
    """Return what a policy can choose from: all values, or some levels of a number."""
    listed = parameter.listed()
    if listed is not None and (len(listed) <= _LEVELS or hasattr(parameter, "values")):
        return listed
    middles = (np.arange(_LEVELS) + 0.5) / _LEVELS
    return tuple(dict.fromkeys(parameter.from_unit(float(each)) for each in middles))


def nearest_option(parameter: Parameter, options: Sequence[Scalar], value: Scalar) -> int:
    """Return the place of the option that is the value, or nearest to it."""
    for place, option in enumerate(options):
        if option == value and type(option) is type(value):
            return place
    unit = parameter.to_unit(value)
    return int(np.argmin([abs(parameter.to_unit(option) - unit) for option in options]))


def _having(parameter: Parameter, candidates: Sequence[Candidate]) -> Places:
    """Return which candidates have the parameter, as far as they are written."""
    if parameter.when is None:
        return np.arange(len(candidates))
    holds = [parameter.when.holds(candidate) for candidate in candidates]
    return np.flatnonzero(np.array(holds, bool))


def _draw(odds: Floats, rng: np.random.Generator) -> Places:
    """Draw an option of each row by its odds."""
    below = odds.cumsum(1)
    # What is rounded away at the end belongs to the last option.
    drawn = (rng.random(len(odds))[:, None] >= below[:, :-1]).sum(1)
    return np.asarray(drawn)


def _with_constant(*parts: Floats) -> Floats:
    """Return arrays of [n, width] side by side, and a column of ones."""
    joined = np.ones((len(parts[0]), sum(part.shape[1] for part in parts) + 1))
    at = 0
    for part in parts:
        joined[:, at : at + part.shape[1]] = part
        at += part.shape[1]
    return joined


def _softmax_slope(step: _Step, weights: Floats, entropy: float) -> Floats:
    """Return the slope of weight · log p(choice) + entropy · H by the logits, [n, options]."""
    p = step.probabilities
    chosen = np.zeros_like(p)
    chosen[np.arange(len(p)), step.choices] = 1.0
    slope = weights[:, None] * (chosen - p)
    if entropy:
        logs = np.log(np.maximum(p, 1e-300))
        slope = slope - entropy * p * (logs - (p * logs).sum(1, keepdims=True))
    return np.asarray(slope)


def _sigmoid(x: NDArray[np.float64]) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
