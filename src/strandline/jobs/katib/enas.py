"""Katib's ENAS Experiments: the network as one candidate, in the form its trials read.

A layer has one of the operations (with all its parameters chosen) and takes, besides the
layer before, any of the earlier ones: `[[3], [0, 1], [7, 0, 1]]` says operation 3; then
operation 0, skipping from layer 1; then 7, from layer 2 only. Source: the README and the
trial image of Katib's `suggestion/v1beta1/nas/enas` (after Pham et al. 2018, arXiv
1802.03268, macro search). Quotes are single, as Katib puts the text on a command line.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from strandline.jobs.katib.codecs import codec_of
from strandline.jobs.katib.declared import Declared
from strandline.jobs.katib.requests import Assignments, NasConfig
from strandline.search.parameters import Categorical, Parameter
from strandline.search.space import Candidate, Space
from strandline.spec.errors import InvalidSpecError

_ARCHITECTURE, _CONFIG = "architecture", "nn_config"
_MOST_LAYERS = 64
_MOST_OPERATIONS = 10_000


class ArchitectureCoder:
    """Codes the networks of one NAS configuration.

    Raises:
        InvalidSpecError: the configuration is incomplete or too large.
    """

    def __init__(self, nas: NasConfig) -> None:
        if not 1 <= nas.layers <= _MOST_LAYERS:
            raise InvalidSpecError(
                f"nasConfig.graphConfig.numLayers is {nas.layers}: choose 1 to {_MOST_LAYERS}"
            )
        for field, sizes in (("inputSizes", nas.input_sizes), ("outputSizes", nas.output_sizes)):
            if not sizes:
                raise InvalidSpecError(f"nasConfig.graphConfig.{field} is missing: state it")
        self._nas = nas
        self._operations = _operations(nas)
        operations = tuple(range(len(self._operations)))
        parameters: list[Parameter] = []
        for layer in range(nas.layers):
            parameters.append(Categorical(f"layer{layer}", operations))
            parameters.extend(Categorical(f"skip{layer}.{of}", (0, 1)) for of in range(layer))
        self._space = Space(tuple(parameters))

    @property
    def space(self) -> Space:
        return self._space

    def assignments(self, candidate: Candidate) -> Assignments:
        network = [
            [candidate[f"layer{n}"], *(candidate[f"skip{n}.{of}"] for of in range(n))]
            for n in range(self._nas.layers)
        ]
        config = {
            "num_layers": self._nas.layers,
            "input_sizes": list(self._nas.input_sizes),
            "output_sizes": list(self._nas.output_sizes),
            "embedding": {str(row[0]): self._operations[int(str(row[0]))] for row in network},
        }
        return (_ARCHITECTURE, _quoted(network)), (_CONFIG, _quoted(config))

    def candidate(self, assignments: Assignments) -> Candidate:
        try:
            network = json.loads(dict(assignments).get(_ARCHITECTURE, ""))
            found = {
                **{f"layer{n}": row[0] for n, row in enumerate(network)},
                **{
                    f"skip{n}.{of}": row[of + 1] for n, row in enumerate(network) for of in range(n)
                },
            }
        except (ValueError, TypeError, IndexError, KeyError):
            raise InvalidSpecError("the trial's architecture cannot be read") from None
        self._space.validate(found)
        return found


def _operations(nas: NasConfig) -> list[dict[str, Any]]:
    """List every operation with every choice of its parameters, as Katib numbers them."""
    found: list[dict[str, Any]] = []
    for operation in nas.operations:
        if not operation.type:
            raise InvalidSpecError("an operation of nasConfig has no operationType: name it")
        names = [declared.name for declared in operation.parameters]
        for values in product(*(_values(declared) for declared in operation.parameters)):
            params = dict(zip(names, values, strict=True))
            found.append({"opt_id": len(found), "opt_type": operation.type, "opt_params": params})
            if len(found) > _MOST_OPERATIONS:
                raise InvalidSpecError(
                    f"nasConfig has more than {_MOST_OPERATIONS} operations: leave some values out"
                )
    if not found:
        raise InvalidSpecError("nasConfig.operations is missing: list at least one")
    return found


def _values(declared: Declared) -> list[str | float]:
    """List the values of an operation's parameter: words, or the numbers of its range."""
    if declared.type == "double" and not declared.step:
        raise InvalidSpecError(
            f"parameter {declared.name!r} of an operation needs a step: its values are listed"
        )
    codec = codec_of(declared)
    if codec.parameter.size() > _MOST_OPERATIONS:
        raise InvalidSpecError(f"parameter {declared.name!r} has too many values to list")
    texts = [codec.text(value) for value in codec.parameter.listed() or ()]
    if declared.type == "int":
        return [int(text) for text in texts]
    return [float(text) for text in texts] if declared.type == "double" else [*texts]


def _quoted(value: Any) -> str:
    return json.dumps(value).replace('"', "'")
