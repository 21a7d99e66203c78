"""What a candidate of a search over cells means: a network to build and how to train it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError
from pydantic.alias_generators import to_camel, to_snake

from strandline.cells.family import Plan
from strandline.cells.registry import family
from strandline.search.cell_space import cell_space
from strandline.search.space import Constraint, Space, space_from_spec
from strandline.spec.errors import InvalidSpecError
from strandline.spec.networks import CellFamily, Network, Schedule
from strandline.spec.records import Scalar
from strandline.spec.search_space import Space as SpaceSpec

Document = TypeVar("Document", Network, Schedule)


@dataclass(frozen=True, slots=True)
class ScratchRecipe:
    """A network and its training.

    Attributes:
        family: name of the architecture space.
        cell: the decisions of the cell alone.
    """

    family: CellFamily
    cell: Mapping[str, Scalar]
    network: Network
    schedule: Schedule

    def plan(self, labels: int) -> Plan:
        """Return what the cell is stacked into, for so many labels."""
        return make_plan(self.network, labels)


def make_plan(network: Network, labels: int) -> Plan:
    """Return the plan that a document's `network` describes."""
    return Plan(
        image_size=network.image_size,
        labels=labels,
        filters=network.filters,
        cells=network.cells,
        stem=network.stem.value,
        drop_path=network.drop_path,
        auxiliary=network.auxiliary,
    )


def scratch_space(written: SpaceSpec, labels: int) -> Space:
    """Return the space of a Search with preset `cells`.

    Raises:
        InvalidSpecError: a parameter is no field of the network or schedule.
    """
    assert written.family is not None, "a rule of the spec"
    network = written.network or Network()
    more = space_from_spec(written.parameters or ()).parameters
    for parameter in more:
        _check_field(parameter.name)
    made = cell_space(written.family.value, make_plan(network, labels), more)
    constraints = tuple(Constraint(text) for text in written.constraints or ())
    return Space(made.parameters, constraints, made.structure)


def read_recipe(written: SpaceSpec, candidate: Mapping[str, Scalar]) -> ScratchRecipe:
    """Return what the candidate means.

    Raises:
        InvalidSpecError: it is none of the space.
    """
    assert written.family is not None, "a rule of the spec"
    fields = {*Network.model_fields, *Schedule.model_fields}
    cell = {name: value for name, value in candidate.items() if to_snake(name) not in fields}
    family(written.family.value).validate(cell)
    changes = {name: value for name, value in candidate.items() if name not in cell}
    return ScratchRecipe(
        written.family,
        cell,
        _changed(written.network or Network(), changes),
        _changed(written.schedule or Schedule(), changes),
    )


def _changed(document: Document, changes: Mapping[str, Scalar]) -> Document:
    fields = type(document).model_fields
    own = {to_snake(name): _typed(value) for name, value in changes.items()}
    own = {name: value for name, value in own.items() if name in fields}
    try:
        return type(document).model_validate({**document.model_dump(), **own})
    except ValidationError as error:
        raise InvalidSpecError(f"{', '.join(own)} of a candidate: {error}") from error


def _typed(value: Scalar) -> Scalar:
    """Return the number or truth value that the text of a categorical stands for."""
    if isinstance(value, str):
        with suppress(ValueError):
            read = json.loads(value)
            if isinstance(read, bool | int | float):
                return read
    return value


def _check_field(name: str) -> None:
    known = [to_camel(field) for kind in (Network, Schedule) for field in kind.model_fields]
    if to_camel(to_snake(name)) not in known:
        raise InvalidSpecError(
            f"a network that is trained from nothing has no setting {name!r} to search: "
            f"it has {', '.join(known)}"
        )
