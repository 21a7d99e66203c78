"""What a Search may search: a space that Strandline keeps, or the user's own parameters."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import LARGEST_EXACT_INT, ShortText
from strandline.spec.networks import CellFamily, Network, Schedule
from strandline.spec.rules import Rule, SpecModel, distinct, keyed_by


def _is_exact_int(bound: float | None) -> bool:
    return bound is None or (abs(bound) <= LARGEST_EXACT_INT and bound == int(bound))


class SpacePreset(StrEnum):
    """A space that Strandline keeps."""

    TRANSFER = "transfer"
    CELLS = "cells"
    CUSTOM = "custom"


class ParameterType(StrEnum):
    """What a parameter's values are."""

    FLOAT = "float"
    INT = "int"
    CATEGORICAL = "categorical"
    ORDINAL = "ordinal"


_LISTED = frozenset({ParameterType.CATEGORICAL, ParameterType.ORDINAL})


class ParameterCondition(SpecModel):
    """The parameter exists only while another one has one of these values."""

    parameter: ShortText = Field(description="Name of the parameter that decides.")
    values: list[ShortText] = Field(
        min_length=1,
        max_length=64,
        json_schema_extra=distinct(),
        description="Values (as text) that switch this one on.",
    )


class Parameter(SpecModel):
    """One dimension of a search space."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.type in ['categorical', 'ordinal']"
            " ? has(self.values) && !has(self.min) && !has(self.max)"
            " : has(self.min) && has(self.max) && !has(self.values)",
            holds=lambda p: (
                (p.values is not None and p.min is None and p.max is None)
                if p.type in _LISTED
                else (p.min is not None and p.max is not None and p.values is None)
            ),
            message="categorical and ordinal parameters take values; float and int min and max",
        ),
        Rule(
            cel="!has(self.min) || !has(self.max) || self.min < self.max",
            holds=lambda p: p.min is None or p.max is None or p.min < p.max,
            message="min must be below max",
        ),
        Rule(
            cel="!self.log || (has(self.min) && self.min > 0.0)",
            holds=lambda p: not p.log or (p.min is not None and p.min > 0),
            message="a log parameter needs a min above 0",
        ),
        Rule(
            cel="!self.log || !(self.type in ['categorical', 'ordinal'])",
            holds=lambda p: not p.log or p.type not in _LISTED,
            message="log belongs to float and int",
        ),
        Rule(
            cel="!has(self.step) || (!self.log && !(self.type in ['categorical', 'ordinal']))",
            holds=lambda p: p.step is None or (not p.log and p.type not in _LISTED),
            message="step belongs to float and int parameters without log",
        ),
        Rule(
            cel="!has(self.step) || self.type != 'int' || double(int(self.step)) == self.step",
            holds=lambda p: (
                p.step is None or p.type is not ParameterType.INT or p.step == int(p.step)
            ),
            message="the step of an int parameter is a whole number",
        ),
        Rule(
            cel="self.type != 'int' || ((!has(self.min) || (self.min >= -9007199254740992.0"
            " && double(int(self.min)) == self.min)) && (!has(self.max) ||"
            " (self.max <= 9007199254740992.0 && double(int(self.max)) == self.max)))",
            holds=lambda p: (
                p.type is not ParameterType.INT
                or all(_is_exact_int(bound) for bound in (p.min, p.max))
            ),
            message="an int parameter takes whole numbers as min and max",
        ),
        Rule(
            cel="!has(self.when) || self.when.parameter != self.name",
            holds=lambda p: p.when is None or p.when.parameter != p.name,
            message="a parameter cannot be a condition of itself",
        ),
    )
    name: StrictStr = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$",
        description="Name under which candidates hold its value.",
    )
    type: ParameterType = Field(
        description="float, int, categorical (values without an order) or ordinal (with one)."
    )
    min: StrictFloat | None = Field(default=None, description="Smallest value, inclusive.")
    max: StrictFloat | None = Field(default=None, description="Largest value, inclusive.")
    log: StrictBool = Field(default=False, description="Search on a logarithmic scale.")
    step: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=LARGEST_EXACT_INT,
        description="Only min, min + step, min + 2 step … are searched.",
    )
    values: list[ShortText] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        json_schema_extra=distinct(),
        description="Values of a categorical; of an ordinal in their order.",
    )
    when: ParameterCondition | None = Field(
        default=None, description="Condition under which the parameter exists."
    )


class Space(SpecModel):
    """What is searched."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.preset == 'cells' || (self.preset == 'custom'"
            " ? has(self.parameters) && size(self.parameters) > 0"
            " : !has(self.parameters) || size(self.parameters) == 0)",
            holds=lambda s: (
                s.preset is SpacePreset.CELLS
                or bool(s.parameters) == (s.preset is SpacePreset.CUSTOM)
            ),
            message="parameters belong to presets custom and cells, and custom needs at least one",
        ),
        Rule(
            cel="!has(self.parameters) || self.parameters.all(p, !has(p.when)"
            " || self.parameters.exists(q, q.name == p.when.parameter))",
            holds=lambda s: (
                {p.when.parameter for p in s.parameters or () if p.when}
                <= {p.name for p in s.parameters or ()}
            ),
            message="when.parameter must name a parameter of the same space",
        ),
        Rule(
            cel="self.preset == 'transfer' || !has(self.backbones)",
            holds=lambda s: s.preset is SpacePreset.TRANSFER or s.backbones is None,
            message="backbones belong to preset transfer",
        ),
        Rule(
            cel="self.preset == 'cells' ? has(self.family) : !has(self.family)"
            " && !has(self.network) && !has(self.schedule) && !has(self.images)",
            holds=lambda s: (
                s.family is not None
                if s.preset is SpacePreset.CELLS
                else (s.family, s.network, s.schedule, s.images) == (None,) * 4
            ),
            message="preset cells needs a family; family, network, schedule and images belong "
            "to it",
        ),
    )
    preset: SpacePreset = Field(
        default=SpacePreset.TRANSFER,
        description="`transfer`: pretrained backbones with heads. `cells`: networks from "
        "nothing. `custom`: your parameters of the transfer preset.",
    )
    effort: Literal["fast", "balanced", "best"] = Field(
        default="balanced", description="How large a part of the preset is searched."
    )
    backbones: list[ShortText] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        json_schema_extra=distinct(),
        description="Backbones to choose from; the preset's own if absent. "
        "`timm:NAME` loads from the timm hub.",
    )
    family: CellFamily | None = Field(
        default=None, description="Architecture space whose cells are searched."
    )
    network: Network | None = Field(
        default=None, description="What cells are stacked into; small networks if absent."
    )
    schedule: Schedule | None = Field(
        default=None, description="How each network is trained; briefly if absent."
    )
    images: StrictInt | None = Field(
        default=None,
        ge=2,
        le=LARGEST_EXACT_INT,
        description="Most images that a network of the search learns from; all if absent.",
    )
    parameters: list[Parameter] | None = Field(
        default=None,
        max_length=128,
        json_schema_extra=keyed_by("name"),
        description="Dimensions of a custom space; for preset cells, fields of the schedule "
        "or network that are searched along with the cell.",
    )
    constraints: list[ShortText] | None = Field(
        default=None,
        max_length=64,
        json_schema_extra=distinct(),
        description="Comparisons that every candidate must hold, e.g. `a + 2 * b <= 10` or "
        "`head != 'mlp' or mlp.width < 512`; one that names an absent parameter holds.",
    )
