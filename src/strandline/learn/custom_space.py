"""The Search kind's custom parameters, laid over the transfer space.

A custom space names some of the transfer preset's parameters and says what to search in
them; every other one stays what it is in the baseline candidate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from strandline.learn.transfer_space import default_candidates, transfer_space
from strandline.search.space import Categorical, Constraint, Parameter, Space, space_from_spec
from strandline.spec.errors import InvalidSpecError
from strandline.spec.records import Scalar, Task
from strandline.spec.search_space import Space as SpaceSpec


def custom_space(written: SpaceSpec, backbones: Sequence[str], task: Task) -> Space:
    """Return the space of the parameters written, completed by constants from the baseline.

    Raises:
        InvalidSpecError: a name is not one of the transfer space's, or a value not one of
            its parameter's.
    """
    known = {p.name: p for p in transfer_space("best", backbones, task).parameters}
    own = space_from_spec(written.parameters or ())
    chosen = [_typed(p, known) for p in own.parameters]
    names = {parameter.name for parameter in chosen}
    baseline = default_candidates("best", backbones, task)[0]
    constants = [
        Categorical(name, (value,)) for name, value in baseline.items() if name not in names
    ]
    heads = _values("head", chosen) or (baseline["head"],)
    defaults = [
        Categorical(p.name, (_some_value(p),), p.when)
        for p in known.values()
        if p.name not in names | set(baseline) and p.name.split(".")[0] in heads
    ]
    constraints = tuple(Constraint(text) for text in written.constraints or ())
    return Space((*constants, *chosen, *defaults), constraints)


def _typed(parameter: Parameter, known: Mapping[str, Parameter]) -> Parameter:
    if parameter.name not in known:
        raise InvalidSpecError(
            f"the transfer preset has no parameter {parameter.name!r}: it has {', '.join(known)}"
        )
    ours = known[parameter.name]
    if not isinstance(parameter, Categorical) or not isinstance(ours, Categorical):
        return parameter
    by_text = {str(value): value for value in ours.values}
    if unknown := [value for value in parameter.values if str(value) not in by_text]:
        raise InvalidSpecError(
            f"{parameter.name} cannot be {unknown[0]!r}: it is one of {', '.join(by_text)}"
        )
    return replace(parameter, values=tuple(by_text[str(value)] for value in parameter.values))


def _values(name: str, parameters: Sequence[Parameter]) -> tuple[Scalar, ...]:
    found = [p for p in parameters if p.name == name and isinstance(p, Categorical)]
    return found[0].values if found else ()


def _some_value(parameter: Parameter) -> Scalar:
    return parameter.from_unit(0.5)
