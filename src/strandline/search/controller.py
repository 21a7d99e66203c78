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


@dataclass(frozen=True, slots=True)
class _Moment:
    """What one pass through the layers leaves for its gradient, one entry a layer.

    Attributes:
        inputs: of the layer, its own last output and a constant.
        gates: [4, width]: input, forget, output, candidate.
        before, after: (output, cell).
    """

    inputs: list[Floats]
    gates: list[Floats]
    before: list[tuple[Floats, Floats]]
    after: list[tuple[Floats, Floats]]


@dataclass(frozen=True, slots=True)
class _Step:
    """One choice: option `choice` of parameter `place`, after the embedding of row `source`."""

    place: int
    choice: int
    source: int
    moment: _Moment
    probabilities: Floats


class Controller:
    """A policy over the candidates of a space.

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

    def sample(self, rng: np.random.Generator) -> Candidate:
        """Draw a candidate from the policy; whether it holds the constraints is not asked."""
        choices: dict[str, Scalar] = {}
        for step in self._run(choices, rng):
            name = self._space.parameters[step.place].name
            choices[name] = self._options[step.place][step.choice]
        return choices

    def log_probability(self, candidate: Candidate) -> float:
        """Return the logarithm of the probability that the policy writes the candidate."""
        return sum(
            float(np.log(step.probabilities[step.choice])) for step in self._run(candidate, None)
        )

    def gradient(self, candidate: Candidate, weight: float, entropy: float) -> dict[str, Floats]:
        """Return the gradient of weight · log p(candidate) + entropy · H, by weights' name."""
        steps = list(self._run(candidate, None))
        gradient = {name: np.zeros_like(array) for name, array in self.weights.items()}
        width = self._width
        hidden = [np.zeros(width) for _ in range(self._layers)]
        cell = [np.zeros(width) for _ in range(self._layers)]
        for step in reversed(steps):
            slope = _softmax_slope(step, weight, entropy)
            softmax = f"softmax{step.place}"
            gradient[softmax] += np.outer(slope, np.append(step.moment.after[-1][0], 1.0))
            down = self.weights[softmax][:, :width].T @ slope
            for layer in reversed(range(self._layers)):
                into = self._layer_slope(step, layer, hidden[layer] + down, cell, gradient)
                down, hidden[layer] = into[:width], into[width : 2 * width]
            gradient["embedding"][step.source] += down
        return gradient

    # ------------------------------------------------------------ inside

    def _run(self, candidate: Candidate, rng: np.random.Generator | None) -> Iterator[_Step]:
        """Yield the steps that write the candidate, or draw it when there is `rng`.

        When drawing, the caller adds each choice to `candidate` before it asks for the next.
        """
        states = [(np.zeros(self._width), np.zeros(self._width)) for _ in range(self._layers)]
        source = 0
        for place, parameter in enumerate(self._space.parameters):
            if parameter.when is not None and not parameter.when.holds(candidate):
                continue
            moment = self._advance(source, states)
            odds = self._softmax(place, moment.after[-1][0])
            if rng is not None:
                choice = int(rng.choice(len(odds), p=odds))
            else:
                choice = nearest_option(parameter, self._options[place], candidate[parameter.name])
            yield _Step(place, choice, source, moment, odds)
            source, states = self._first[place] + choice, moment.after

    def _advance(self, source: int, states: list[tuple[Floats, Floats]]) -> _Moment:
        flow = self.weights["embedding"][source]
        moment = _Moment([], [], states, [])
        for layer, (hidden, cell) in enumerate(states):
            joined = np.concatenate([flow, hidden, [1.0]])
            raw = (self.weights[f"lstm{layer}"] @ joined).reshape(4, -1)
            gates = np.concatenate([_sigmoid(raw[:3]), np.tanh(raw[3:])])
            cell_after = gates[1] * cell + gates[0] * gates[3]
            flow = gates[2] * np.tanh(cell_after)
            moment.inputs.append(joined)
            moment.gates.append(gates)
            moment.after.append((flow, cell_after))
        return moment

    def _softmax(self, place: int, hidden: Floats) -> Floats:
        logits = self.weights[f"softmax{place}"] @ np.append(hidden, 1.0)
        raised = np.exp(logits - logits.max())
        return np.asarray(raised / raised.sum())

    def _layer_slope(
        self,
        step: _Step,
        layer: int,
        slope: Floats,
        cell: list[Floats],
        gradient: dict[str, Floats],
    ) -> Floats:
        """Add the layer's gradient and return the slope of its inputs."""
        enter, forget, leave, write = step.moment.gates[layer]
        bent = np.tanh(step.moment.after[layer][1])
        inner = cell[layer] + slope * leave * (1 - bent**2)
        raw = np.concatenate(
            [
                inner * write * enter * (1 - enter),
                inner * step.moment.before[layer][1] * forget * (1 - forget),
                slope * bent * leave * (1 - leave),
                inner * enter * (1 - write**2),
            ]
        )
        cell[layer] = inner * forget
        gradient[f"lstm{layer}"] += np.outer(raw, step.moment.inputs[layer])
        return np.asarray(self.weights[f"lstm{layer}"].T @ raw)


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


def _softmax_slope(step: _Step, weight: float, entropy: float) -> Floats:
    """Return the slope of weight · log p(choice) + entropy · H by the logits."""
    p = step.probabilities
    chosen = np.zeros_like(p)
    chosen[step.choice] = 1.0
    slope = weight * (chosen - p)
    if entropy:
        logs = np.log(np.maximum(p, 1e-300))
        slope = slope - entropy * p * (logs - float(p @ logs))
    return slope


def _sigmoid(x: NDArray[np.float64]) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))
