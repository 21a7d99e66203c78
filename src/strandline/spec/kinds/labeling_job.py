"""LabelingJob: have people label images of a dataset, until they agree.

An item is done when one answer leads by `answers.lead`: stopping at a lead of two takes
2.2 answers an image and is as right as five answers of everybody (CIFAR-10H).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from strandline.spec.fields import Count, Duration, Number, ShortText, Time, is_moment, is_some_time
from strandline.spec.kinds.base import KindModel
from strandline.spec.kinds.references import DatasetRef, ModelRef
from strandline.spec.naming import AGE, Column, KindNames, ready_columns
from strandline.spec.rules import Rule, SpecModel, distinct, keyed_by
from strandline.spec.status import Status


class LabelDescription(SpecModel):
    """A label that annotators may choose, and how to know it."""

    name: StrictStr = Field(
        min_length=1, max_length=128, description="The label, as it stands in the dataset."
    )
    description: StrictStr = Field(
        default="", max_length=1024, description="What belongs to it and what does not."
    )
    exemplars: list[ShortText] = Field(
        default_factory=list,
        max_length=8,
        json_schema_extra=distinct(),
        description="Typical images: digests of items of the dataset, shown next to the question.",
    )


class Annotators(SpecModel):
    """Who is asked; everybody who may sign in, if nobody is named."""

    names: list[ShortText] = Field(
        default_factory=list,
        max_length=256,
        json_schema_extra=distinct(),
        description="People, by the name they sign in with.",
    )
    groups: list[ShortText] = Field(
        default_factory=list,
        max_length=64,
        json_schema_extra=distinct(),
        description="Groups of people, by the name the identity provider gives them.",
    )


class AnswerPolicy(SpecModel):
    """When the people have agreed on an item, and when they never will."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.min <= self.max",
            holds=lambda a: a.min <= a.max,
            message="answers.min must not be above answers.max: lower min, or raise max",
        ),
        Rule(
            cel="self.lead <= self.max",
            holds=lambda a: a.lead <= a.max,
            message="no answer can lead by more than answers.max answers: lower lead, or raise max",
        ),
    )
    min: StrictInt = Field(
        default=1, ge=1, le=100, description="Fewest answers of different people to each item."
    )
    max: StrictInt = Field(
        default=5,
        ge=1,
        le=100,
        description="Most answers to an item; with no agreement by then it is disputed.",
    )
    lead: StrictInt = Field(
        default=2,
        ge=1,
        le=100,
        description="Agreed as soon as one answer has so many more than the next one; 1 takes "
        "the first answer, for one person who labels alone.",
    )


class GoldQuestions(SpecModel):
    """Items whose answer is known, asked in between to see how well people answer."""

    share: StrictFloat = Field(
        default=0.0, ge=0, le=0.5, description="Share of questions that are gold; 0 asks none."
    )
    dataset: DatasetRef | None = Field(
        default=None,
        description="Labeled Dataset they are taken from; the labeled images of the same "
        "dataset if absent.",
    )
    min_accuracy: StrictFloat = Field(
        default=0.7,
        ge=0,
        le=1,
        description="Answers of people who are right less often than this do not count.",
    )
    min_questions: StrictInt = Field(
        default=10, ge=1, le=1000, description="Judge people only after so many gold questions."
    )


class ItemOrder(StrEnum):
    """Which item is asked next."""

    UNCERTAIN = "uncertain"
    RANDOM = "random"
    LISTED = "listed"


class ItemChoice(StrEnum):
    """Which items are asked."""

    UNLABELED = "unlabeled"
    LABELED = "labeled"
    ALL = "all"


class ExtraAnswer(StrEnum):
    """An answer besides the labels."""

    DELETE = "delete"
    EXEMPLAR = "exemplar"
    NEED_MORE_INFO = "need-more-info"
    NO_LABEL_APPLIES = "no-label-applies"


class LabelingJobSpec(SpecModel):
    """Images of a dataset that people are to label."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="self.annotators.names.size() == 0 || self.annotators.groups.size() > 0"
            " || (self.annotators.names.size() >= self.answers.min"
            " && self.annotators.names.size() >= self.answers.lead)",
            holds=lambda s: (
                not s.annotators.names
                or bool(s.annotators.groups)
                or len(s.annotators.names) >= max(s.answers.min, s.answers.lead)
            ),
            message="everybody answers an item once: name at least as many annotators as "
            "answers.min and answers.lead ask for, or lower those",
        ),
        Rule(
            cel="self.lease.matches('[1-9]')",
            holds=lambda s: is_some_time(s.lease),
            message="lease must be above 0s, e.g. 10m",
        ),
        Rule(
            cel="!has(self.deadline)"
            " || timestamp(self.deadline) > timestamp('0001-01-01T00:00:00Z')",
            holds=lambda s: is_moment(s.deadline),
            message="deadline must be a day that exists, e.g. 2026-12-31T18:00:00Z",
        ),
    )
    dataset: DatasetRef = Field(description="Whose images are labeled; a new version comes of it.")
    items: ItemChoice = Field(
        default=ItemChoice.UNLABELED,
        description="unlabeled; labeled (to check what is there); or all.",
    )
    labels: list[LabelDescription] = Field(
        default_factory=list,
        max_length=256,
        json_schema_extra=keyed_by("name"),
        description="Labels to choose from, in the order shown; those of the dataset if empty.",
    )
    instructions: StrictStr = Field(
        default="", max_length=16384, description="What annotators read first, as Markdown."
    )
    annotators: Annotators = Field(default_factory=Annotators, description="Who is asked.")
    answers: AnswerPolicy = Field(
        default_factory=AnswerPolicy, description="When an item is agreed on."
    )
    gold: GoldQuestions = Field(
        default_factory=GoldQuestions, description="Questions whose answer is known."
    )
    order: ItemOrder = Field(
        default=ItemOrder.UNCERTAIN,
        description="uncertain: what teaches most comes first; random; or listed as in the "
        "dataset.",
    )
    model: ModelRef | None = Field(
        default=None,
        description="Model whose uncertainty orders the items and whose answer is suggested; "
        "similarity of images alone if absent.",
    )
    priority: StrictInt = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Annotators of several jobs are asked by the one of highest priority first.",
    )
    lease: Duration = Field(
        default="10m", description="A question goes to somebody else when unanswered so long."
    )
    extra_answers: list[ExtraAnswer] = Field(
        default_factory=lambda: list(ExtraAnswer),
        max_length=4,
        json_schema_extra=distinct(),
        description="Allowed besides labels: delete (unusable image), exemplar (typical for its "
        "label), need-more-info, no-label-applies.",
    )
    deadline: Time | None = Field(
        default=None, description="Ask nothing more from then on, e.g. `2026-12-31T18:00:00Z`."
    )
    suspend: StrictBool = Field(default=False, description="Ask nothing; what is there is kept.")


class LabelingJobStatus(Status):
    """How far the labeling is."""

    progress: StrictStr | None = Field(
        default=None, max_length=64, description="Items agreed on, of all, e.g. `120/500`."
    )
    items: Count | None = Field(default=None, description="Items that are asked.")
    answered: Count | None = Field(default=None, description="Items with one answer at least.")
    agreed: Count | None = Field(default=None, description="Items that people agree on.")
    disputed: Count | None = Field(
        default=None, description="Items without agreement after the most answers."
    )
    deleted: Count | None = Field(default=None, description="Items answered to be unusable.")
    answers: Count | None = Field(default=None, description="Answers that count, gold left out.")
    annotators: Count | None = Field(default=None, description="People who answered.")
    gold_accuracy: StrictFloat | None = Field(
        default=None, ge=0, le=1, description="Share of gold questions answered right."
    )
    dataset_version: Number | None = Field(
        default=None, description="Version of the dataset that came of it."
    )
    started_at: Time | None = Field(default=None, description="When the first answer came.")
    ended_at: Time | None = Field(default=None, description="When it ended.")


class LabelingJob(KindModel):
    """Images that several people label, until they agree."""

    names: ClassVar[KindNames] = KindNames(
        plural="labelingjobs",
        singular="labelingjob",
        short=("lj",),
        columns=(
            *ready_columns(),
            Column("Dataset", "string", ".spec.dataset.name", "Whose images are labeled."),
            Column("Agreed", "string", ".status.progress", "Items agreed on, of all."),
            Column("Disputed", "integer", ".status.disputed", "Items without agreement."),
            Column("Answers", "integer", ".status.answers", "Answers that count.", wide=True),
            Column("People", "integer", ".status.annotators", "People who answered."),
            Column("Gold", "number", ".status.goldAccuracy", "Share answered right.", wide=True),
            Column("Version", "integer", ".status.datasetVersion", "Dataset version it made."),
            Column("Deadline", "string", ".spec.deadline", "When asking ends.", wide=True),
            AGE,
        ),
    )
    status_model: ClassVar[type[Status]] = LabelingJobStatus

    kind: Literal["LabelingJob"] = Field(description="Kind of this object.")
    spec: LabelingJobSpec = Field(description="What is wanted.")
