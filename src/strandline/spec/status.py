"""What is observed about each kind: the `status` that Strandline writes, never a person.

The shapes follow the Kubernetes API conventions: `observedGeneration` tells which spec
the status speaks of, conditions tell the state with a reason, lists are bounded (trial
rows live in the catalog; only counts and the best trial are here).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictStr

from strandline.spec.fields import Count, Time
from strandline.spec.rules import SpecModel, keyed_by


class Condition(SpecModel):
    """One aspect of the state (metav1.Condition)."""

    type: StrictStr = Field(
        min_length=1,
        max_length=316,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        description="Aspect: Ready, Reconciling, Stalled, Complete, Failed, Suspended.",
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: Count | None = Field(
        default=None, description="`metadata.generation` that this speaks of."
    )
    last_transition_time: Time = Field(description="When `status` last changed.")
    reason: StrictStr = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="One CamelCase word for programs.",
    )
    message: StrictStr = Field(max_length=32768, description="A sentence for people.")


class Status(SpecModel):
    """What every kind's status holds."""

    observed_generation: Count | None = Field(
        default=None, description="Newest `metadata.generation` that was acted upon."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        json_schema_extra=keyed_by("type"),
        description="The state, one entry an aspect.",
    )
