"""The Bundle: a model in one file that can be trusted or is refused.

It holds the graph from decoded pixels to calibrated scores, the labels, when to abstain,
the evaluation, how it came about, and golden images whose scores must come again before
the model is used: the same file with another runtime or processor gives the same answers,
or an error. `docs/reference/bundle.md` describes the format for other readers.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from strandline.bundle.archive import MAX_BUNDLE_BYTES, read_archive, write_archive
from strandline.bundle.contents import DEFAULT_TOLERANCE, Manifest, Member, Receipt
from strandline.bundle.graph_check import check_graph
from strandline.bundle.session import Floats, GraphSession, Pixels
from strandline.data.decode import DecodeLimits, decode_image
from strandline.durable import sync_folder
from strandline.spec.errors import (
    CorruptArtifactError,
    InvalidSpecError,
    NotFoundError,
    UnusableDataError,
)
from strandline.spec.records import Record, Task, canonical_json, digest_of
from strandline.spec.scorecard import Abstention, Scorecard

R = TypeVar("R", bound=Record)

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
SCORECARD = "scorecard.json"
CARD = "card.md"
RECEIPT = "receipt.json"
GOLDEN_SCORES = "golden/scores.json"
MAX_GOLDEN = 16

_FIXED = (GRAPH, SCORECARD, CARD, RECEIPT, GOLDEN_SCORES)
_GOLDEN_LIMITS = DecodeLimits(max_bytes=20_000_000, max_pixels=5_000_000)
_GOLDEN_SIDE = 512
_MAX_JSON_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class BundleContents:
    """What goes into a bundle.

    Attributes:
        graph: serialised ONNX model, `images` -> `scores`, calibration inside.
        calibration: what is inside the graph, as JSON, for the record.
        card: the model card, Markdown.
        golden: 1 to 16 images, uint8 [H, W, 3], as a rule some of those it was trained on;
            large ones are shrunk, and all can be seen by whoever has the bundle.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    graph: bytes
    abstention: Abstention
    scorecard: Scorecard
    receipt: Receipt
    card: str
    golden: Sequence[Pixels]
    calibration: Mapping[str, Any]
    tolerance: float = DEFAULT_TOLERANCE


@dataclass(frozen=True, eq=False)
class Bundle:
    """An opened bundle: every byte matched its digest, the graph is self-contained.

    Attributes:
        digest: of the whole file, its name in a store.
        members: by name, views into the file's bytes.
    """

    digest: str
    manifest: Manifest
    members: Mapping[str, memoryview]

    @property
    def graph(self) -> memoryview:
        """The serialised ONNX model."""
        return self.members[GRAPH]

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return bytes(self.members[CARD]).decode()

    @cached_property
    def scorecard(self) -> Scorecard:
        """The evaluation at training time."""
        return _parse(Scorecard, self.members[SCORECARD], SCORECARD)

    @cached_property
    def receipt(self) -> Receipt:
        """How the model came about."""
        return _parse(Receipt, self.members[RECEIPT], RECEIPT)

    def golden(self) -> tuple[list[Pixels], Floats]:
        """Return the golden images [H, W, 3] and their scores [n, labels].

        Raises:
            CorruptArtifactError: they are not what the format says.
        """
        names = sorted(name for name in self.members if name.endswith(".png"))
        try:
            images = [decode_image(bytes(self.members[n]), _GOLDEN_LIMITS).pixels for n in names]
            scores = np.array(json.loads(bytes(self.members[GOLDEN_SCORES])), dtype=np.float32)
        except (UnusableDataError, ValueError, TypeError, RecursionError) as error:
            raise CorruptArtifactError(f"the bundle's golden images are broken: {error}") from error
        if not names or scores.shape != (len(names), len(self.manifest.labels)):
            raise CorruptArtifactError(
                f"the bundle has {len(names)} golden images and scores of shape "
                f"{list(scores.shape)} for {len(self.manifest.labels)} labels"
            )
        return images, scores


def write_bundle(path: Path, contents: BundleContents) -> str:
    """Write a bundle, whole or not at all, and return the digest of the file.

    Equal contents make equal bytes on one installation (golden images are PNG, whose
    compression may differ between versions of zlib).

    Raises:
        CorruptArtifactError: the graph is not self-contained or does not run.
        InvalidSpecError: the contents contradict each other.
    """
    members = _make_members(contents)
    hidden = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with hidden.open("wb") as file:
            for piece in write_archive(members):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        bundle = open_bundle(hidden)
        check_golden(bundle, GraphSession(bundle.graph, len(contents.labels)))
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
    sync_folder(path.parent)
    return bundle.digest


def open_bundle(source: Path | bytes) -> Bundle:
    """Open a bundle after checking every byte of it.

    The golden images are run by whoever loads the graph (`runtime.Predictor`).

    Raises:
        NotFoundError: there is no such file.
        CorruptArtifactError: damaged, no bundle, or of a newer version; says which.
    """
    data = source if isinstance(source, bytes) else _read(source)
    members = read_archive(data)
    if MANIFEST not in members:
        raise CorruptArtifactError(f"the bundle has no {MANIFEST}")
    manifest = _parse(Manifest, members.pop(MANIFEST), MANIFEST)
    _check_members(manifest, members)
    opset = check_graph(members[GRAPH])
    if opset != manifest.opset:
        raise CorruptArtifactError(
            f"the graph has operator set {opset}, the manifest says {manifest.opset}"
        )
    return Bundle(digest_of(data), manifest, members)


def check_golden(bundle: Bundle, session: GraphSession) -> None:
    """Check that the golden images get their scores here, too.

    Raises:
        CorruptArtifactError: they differ by more than the bundle's tolerance.
    """
    images, expected = bundle.golden()
    found = np.concatenate([session.scores(each[None]) for each in images])
    gap = float(np.abs(found - expected).max())
    if not gap <= bundle.manifest.tolerance:
        raise CorruptArtifactError(
            f"the golden images of the bundle score differently here (by {gap:.2g}, at most "
            f"{bundle.manifest.tolerance:g} is allowed): this runtime computes something else "
            "than the one that wrote it; try another version of onnxruntime"
        )


def _make_members(contents: BundleContents) -> dict[str, bytes]:
    opset = check_graph(contents.graph)
    if not 1 <= len(contents.golden) <= MAX_GOLDEN:
        raise InvalidSpecError(f"a bundle needs 1 to {MAX_GOLDEN} golden images")
    if contents.scorecard.labels != contents.labels:
        raise InvalidSpecError("the scorecard is about other labels than the bundle")
    session = GraphSession(contents.graph, len(contents.labels))
    golden = [_shrink(each) for each in contents.golden]
    scores = [session.scores(each[None])[0].tolist() for each in golden]
    members = {
        GRAPH: contents.graph,
        SCORECARD: canonical_json(contents.scorecard.model_dump(mode="json")),
        CARD: contents.card.encode(),
        RECEIPT: canonical_json(contents.receipt.model_dump(mode="json")),
    }
    members |= {f"golden/{n:03}.png": _encode_png(each) for n, each in enumerate(golden)}
    members[GOLDEN_SCORES] = canonical_json(scores)
    manifest = Manifest(
        name=contents.name,
        task=contents.task,
        labels=contents.labels,
        opset=opset,
        abstention=contents.abstention,
        calibration=contents.calibration,
        tolerance=contents.tolerance,
        members={k: Member(size=len(v), digest=digest_of(v)) for k, v in members.items()},
    )
    return {MANIFEST: canonical_json(manifest.model_dump(mode="json")), **members}


def _shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_GOLDEN_SIDE, _GOLDEN_SIDE))
    return np.asarray(image)


def _encode_png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _check_members(manifest: Manifest, members: Mapping[str, memoryview]) -> None:
    if list(members) != list(_expected_order(manifest)):
        raise CorruptArtifactError(
            f"the bundle has the members {sorted(members)[:20]}, its manifest names others"
        )
    for name, member in manifest.members.items():
        content = members[name]
        if len(content) != member.size or digest_of(bytes(content)) != member.digest:
            raise CorruptArtifactError(f"the bundle's {name} does not match its digest")
    if len(set(manifest.labels)) != len(manifest.labels):
        raise CorruptArtifactError("the bundle names a label twice")
    thresholds = len(manifest.abstention.label_thresholds)
    if thresholds not in (0, len(manifest.labels)):
        raise CorruptArtifactError(
            f"the bundle has {thresholds} thresholds for {len(manifest.labels)} labels"
        )


def _expected_order(manifest: Manifest) -> Sequence[str]:
    count = len(manifest.members) - len(_FIXED)
    golden = [f"golden/{number:03}.png" for number in range(count)]
    expected = [GRAPH, SCORECARD, CARD, RECEIPT, *golden, GOLDEN_SCORES]
    if not 1 <= count <= MAX_GOLDEN or set(manifest.members) != set(expected):
        raise CorruptArtifactError(
            "the bundle's manifest does not name the members that its format has"
        )
    return expected


def _parse(record: type[R], content: memoryview, name: str) -> R:
    if len(content) > _MAX_JSON_BYTES:
        raise CorruptArtifactError(f"the bundle's {name} is larger than {_MAX_JSON_BYTES} bytes")
    try:
        return record.model_validate_json(bytes(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptArtifactError(
            f"the bundle's {name} breaks its schema at {where or 'its start'}: {first['msg']}"
        ) from None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BUNDLE_BYTES:
            raise CorruptArtifactError(f"{path} is larger than a bundle may be")
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"there is no bundle file {path}") from error
