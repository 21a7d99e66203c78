"""What the documents of all kinds have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, StrictStr

from strandline.spec.fields import LabelKey, LabelValue, Name
from strandline.spec.naming import KindNames
from strandline.spec.rules import SpecModel
from strandline.spec.status import Status

API_VERSION = "strandline.dev/v1alpha1"


class Metadata(SpecModel):
    """The part of Kubernetes' ObjectMeta that documents may set."""

    name: Name = Field(description="Name of the object, unique per kind and namespace.")
    namespace: Name = Field(
        default="default", description="Namespace of the object; a laptop has only one."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, description="Labels for selectors."
    )
    annotations: dict[LabelKey, StrictStr] = Field(
        default_factory=dict, description="Free-form notes."
    )


class KindModel(SpecModel):
    """What the documents of all kinds have in common."""

    names: ClassVar[KindNames]
    status_model: ClassVar[type[Status]]

    api_version: Literal["strandline.dev/v1alpha1"] = Field(description="Version of this schema.")
    kind: StrictStr = Field(description="Kind of this object.")
    metadata: Metadata = Field(description="Name, labels and annotations.")


def to_document(model: SpecModel) -> dict[str, Any]:
    """Return `model` as the document a person would write: camelCase, nothing unset."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
