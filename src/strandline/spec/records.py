"""Frozen records that flow between the verbs, each naming its parents by digest.

Lineage is the data itself: a `DatasetVersion` names the objects it holds, a `Trial`
its search, a `ModelVersion` its dataset and search. None of them is ever changed in
place; a correction is a new record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
"""`sha256:` and 64 lower-case hex digits: the name of an object by its content."""

Scalar = bool | int | float | str | None


class Record(BaseModel):
    """Base of all records: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(StrEnum):
    """What a label set means: exactly one label an image, or any number."""

    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"


class Split(StrEnum):
    """The three parts of a dataset. TEST is touched by evaluation only."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Item(Record):
    """One distinct image of a dataset.

    Attributes:
        image: digest of the stored object.
        sources: every name under which the image came, as text; never used as a path.
        labels: sorted labels; None when nobody has labeled the image, () when a person
            said that no label applies (multi-label only).
        split: the split the source asked for, None to let Strandline decide.
        group: items of one user-given group never straddle a split.
        near_duplicates: id of the near-duplicate group, None when the image has none.
        width, height: upright size in pixels (EXIF orientation applied).
        media_type: true type judged by content, e.g. `image/jpeg`.
        notes: what a person should know (`first of 3 frames`, `alpha over white`).
    """

    image: Digest
    sources: tuple[str, ...]
    labels: tuple[str, ...] | None = None
    split: Split | None = None
    group: str | None = None
    near_duplicates: int | None = None
    width: int
    height: int
    media_type: str
    notes: tuple[str, ...] = ()


class DatasetVersion(Record):
    """An immutable version of a dataset.

    Attributes:
        digest: over task, labels and items (not over number or time), so equal data
            has an equal digest on every machine.
        items_object: digest of the stored manifest (JSON Lines, one `Item` a line).
        items, labeled: counts.
        parent: digest of the version this one was made from.
    """

    dataset: str
    version: int
    digest: Digest
    task: Task
    labels: tuple[str, ...]
    items_object: Digest
    items: int
    labeled: int
    parent: Digest | None = None
    created_at: datetime


class Refusal(Record):
    """One thing an import left out, with the reason a person can act on.

    Attributes:
        source: where it came from: path, archive entry, or `table.csv:17`.
        reason: one sentence, no control characters, bounded in length.
        code: CamelCase kind of refusal, for programs.
    """

    source: str
    reason: str
    code: str


class ImportReport(Record):
    """What an import did; `-o json` prints exactly these fields (contract v1).

    Attributes:
        version, digest: 0 and None when not one image could be imported.
        refused: what was left out, and why; the rest went on.
        exact_duplicates: number of files merged into an image that was there already.
        near_duplicate_groups: number of groups of two or more near-duplicates.
        warnings: what a person should look at (conflicting labels, lookalike labels).
        skipped: count of system files left out silently (`__MACOSX`, `.DS_Store`).
    """

    dataset: str
    version: int
    digest: Digest | None
    items: int
    labels: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()
    exact_duplicates: int = 0
    near_duplicate_groups: int = 0
    warnings: tuple[str, ...] = ()
    skipped: int = 0


class TrialState(StrEnum):
    """PENDING → RUNNING → one of the others. PRUNED: stopped early by a scheduler."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    FAILED = "failed"


class FailureKind(StrEnum):
    """Why a trial died; a reason, not a log hunt."""

    OUT_OF_MEMORY = "out-of-memory"
    NOT_A_NUMBER = "nan"
    CRASH = "crash"
    LOST = "lost"
    TIMEOUT = "timeout"
    ERROR = "error"


class Failure(Record):
    """A classified trial failure with the last line of what it said."""

    kind: FailureKind
    message: str


class Trial(Record):
    """One candidate's run inside a search.

    Attributes:
        search: uid of the Search, so a new Search of the same name starts afresh.
        number: 0, 1, 2 … in order of suggestion; the trial's stable name.
        candidate: the chosen parameters; inactive conditional ones are absent.
        step: resource used so far, in the unit of the search's early stopping.
        metrics: the newest value of each metric.
        seconds: time spent in steps, summed over restarts.
        started_at, ended_at: wall clock; None when not yet.
        parent: number of the trial whose checkpoint this one began from; None when it
            began afresh.
        pool: name of the ComputePool it ran on last; None where there are none.
        cost: of its workers for `seconds`, where the prices of their pools are known.
    """

    search: str
    number: int
    candidate: Mapping[str, Scalar]
    state: TrialState = TrialState.PENDING
    step: int = 0
    metrics: Mapping[str, float] = {}
    failure: Failure | None = None
    seconds: float = 0.0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    parent: int | None = None
    pool: str | None = None
    cost: float | None = None


class ModelVersion(Record):
    """A registered, immutable version of a model.

    Attributes:
        bundle: digest of the stored Bundle file.
        dataset, dataset_digest: what it was trained on.
        search: uid of the Search it came from, None when imported.
        metrics: headline numbers on the test split, for lists.
    """

    model: str
    version: int
    bundle: Digest
    task: Task
    labels: tuple[str, ...]
    dataset: str
    dataset_digest: Digest
    search: str | None = None
    metrics: Mapping[str, float] = {}
    created_at: datetime


class BestValue(Record):
    """The best value of a search's first objective."""

    metric: str
    value: float


class TrainReport(Record):
    """What a training brought; `train -o json` prints exactly these fields (contract v1).

    Attributes:
        search: name of the Search.
        trials: number of trials that gave a result.
        seconds: wall-clock time, searching to registered model.
    """

    search: str
    model: str
    version: int
    trials: int
    best: BestValue
    seconds: float


class TrainingReport(Record):
    """What the training of one network brought.

    Attributes:
        training: name of the Training.
        model, version: what was registered; empty and 0 without a model.
        metric, value: on the images held out, after the last epoch.
        seconds: wall-clock time of this run, up to the registered model.
    """

    training: str
    model: str
    version: int
    epochs: int
    metric: str
    value: float
    seconds: float


class Event(Record):
    """Something that happened to a resource, as `kubectl get events` would show it."""

    kind: str
    name: str
    type: str
    reason: str
    message: str
    at: datetime


_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical_json(value: Any) -> bytes:
    """Serialize `value` to the one JSON text that equal values share.

    Keys sorted, no spaces, UTF-8, no NaN (RFC 8259 has none).

    Raises:
        ValueError: `value` holds NaN or an infinity.
    """
    return _CANONICAL.encode(value).encode()


def digest_of(data: bytes) -> str:
    """Return the `Digest` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
