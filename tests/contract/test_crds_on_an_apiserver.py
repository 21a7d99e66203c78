"""A real apiserver takes the CRDs, and judges documents as the models do.

What the imitation in `tests/unit/spec` cannot know: the cost of rules, how types are
coerced, which defaults are filled in when, what a person is told, and what kubectl shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError
from tests.cluster import control_plane as bare
from tests.cluster.binaries import missing
from tests.cluster.control_plane import ControlPlane
from tests.kinds.apiserver import AskedApiserver, path_of
from tests.kinds.cases import CASES, MINIMAL, Document, document_of
from tests.kinds.random_documents import documents, parse, statuses
from tests.servers.absent import skip_or_fail

from strandline.cli.resource_output import headings_of, row_of
from strandline.control.reconcile import reconcile
from strandline.ports import Resource
from strandline.spec.actions import Observed, WriteStatus
from strandline.spec.documents import parse_documents
from strandline.spec.naming import Scope
from strandline.spec.v1alpha1 import API_VERSION, KINDS, to_document

pytestmark = [pytest.mark.apiserver, pytest.mark.slow]

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
thoroughly = settings(
    max_examples=300, database=None, suppress_health_check=list(HealthCheck), deadline=None
)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    absent = missing(bare.programs())
    if absent:
        skip_or_fail(f"not built: run `python -m tests.cluster.binaries {' '.join(absent)}`")
    with bare.control_plane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def server(plane: ControlPlane) -> Iterator[AskedApiserver]:
    """An apiserver that knows all kinds."""
    with closing(AskedApiserver(plane)) as asked:
        for kind in KINDS:
            asked.install(kind)
        yield asked


# ---------------------------------------------------------------- definitions


@EVERY_KIND
def test_a_crd_is_established_without_complaint(server: AskedApiserver, kind: str) -> None:
    names = KINDS[kind].names
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    found = server.call("GET", f"{path}/{names.plural}.strandline.dev").body
    conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert "NonStructuralSchema" not in conditions
    accepted = found["status"]["acceptedNames"]
    assert accepted["shortNames"] == list(names.short)
    assert accepted["categories"] == ["strandline"]


@EVERY_KIND
def test_kubectl_explains_every_field(server: AskedApiserver, kind: str) -> None:
    """What `kubectl explain` reads: a description everywhere, and choices spelt out."""
    api = server.call("GET", f"/openapi/v3/apis/{API_VERSION}").body
    schema = api["components"]["schemas"][f"dev.strandline.v1alpha1.{kind}"]
    for path, node in _fields(schema, kind):
        if not path.startswith(f"{kind}.metadata"):
            assert len(node.get("description", "")) > 5, path


def _fields(schema: Document, path: str) -> Iterator[tuple[str, Document]]:
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from _fields(inner, f"{path}.{name}")
        yield from _fields(inner.get("items", {}), f"{path}.{name}[]")


@EVERY_KIND
def test_kubectl_explain_shows_all_levels(
    plane: ControlPlane, server: AskedApiserver, kind: str
) -> None:
    # By short name: `endpoints` alone would be the core API's.
    short = KINDS[kind].names.short[0]
    assert "observedGeneration" in plane.kubectl("explain", short, "--recursive")
    described = plane.kubectl("explain", f"{short}.spec")
    assert "<no description>" not in described.partition("FIELDS:")[2]


def test_kubectl_explain_names_the_choices(plane: ControlPlane, server: AskedApiserver) -> None:
    said = plane.kubectl("explain", "computepools.spec.accelerator.kind")
    assert said.split("ENUM:")[1].split()[:3] == ["cpu", "gpu", "tpu"]
    assert "gpu (of any vendor)" in said


# ---------------------------------------------------------------- documents


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sample_is_accepted_and_filled_in_as_the_laptop_does(
    server: AskedApiserver, sample: Path
) -> None:
    for each in parse_documents(sample.read_bytes(), sample.name):
        wanted = to_document(each.model)
        answer = server.try_create(wanted)
        assert answer.accepted, answer.message
        assert answer.body["spec"] == wanted["spec"]
        query = {"dryRun": "All", "force": "true", "fieldManager": "strandline"}
        path = f"{path_of(each.model.kind)}/{each.model.metadata.name}"
        applied = server.call("PATCH", path, wanted, **query)
        assert applied.accepted, applied.message


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sample_is_applied_by_kubectl(
    plane: ControlPlane, server: AskedApiserver, sample: Path
) -> None:
    for how in ("--server-side", "--dry-run=server"):
        said = plane.kubectl("apply", "-f", str(sample), "--dry-run=server", how)
        assert "dry run" in said


@pytest.mark.parametrize(("kind", "spec", "refusal"), CASES)
def test_a_rule_judges_and_speaks_as_in_python(
    server: AskedApiserver, kind: str, spec: Document, refusal: str | None
) -> None:
    document = document_of(kind, spec)
    answer = server.try_create(document)
    if refusal is None:
        assert answer.accepted, answer.message
        return
    assert not answer.accepted
    for message in _messages(document):
        assert message in answer.message


def _messages(document: Document) -> list[str]:
    """Return what the rules say of a document, and nothing that the schema says."""
    try:
        KINDS[document["kind"]].model_validate(document)
    except ValidationError as error:
        broken = [each for each in error.errors() if each["type"] == "value_error"]
        said = [each["msg"].removeprefix("Value error, ") for each in broken]
        return [message for message in said if "stands here twice" not in message]
    return []


@EVERY_KIND
def test_models_and_apiserver_accept_the_same_documents(server: AskedApiserver, kind: str) -> None:
    seen = {True: 0, False: 0}

    @thoroughly
    @given(documents(kind))
    def compare(document: Document) -> None:
        if document.get("metadata") != {"name": "A"}:
            document["metadata"] = {"name": "a"}  # it checks labels by its own rules
        answer, model = server.try_create(document), parse(document)
        assert answer.accepted == (model is not None), answer.message
        seen[answer.accepted] += 1
        if model is not None:
            assert answer.body.get("spec", {}) == to_document(model)["spec"]

    compare()
    assert min(seen.values()) >= 20, seen


@EVERY_KIND
def test_models_and_apiserver_accept_the_same_statuses(server: AskedApiserver, kind: str) -> None:
    document = document_of(kind, MINIMAL[kind])
    document["metadata"] = {"name": f"status-of-{kind.lower()}"}
    stored = server.create(document)
    model = KINDS[kind].status_model
    seen = {True: 0, False: 0}

    @thoroughly
    @given(statuses(kind))
    def compare(status: Document) -> None:
        answer = server.put_status({**stored, "status": status})
        try:
            parsed = model.model_validate(status, by_alias=True, by_name=False)
        except ValidationError:
            parsed = None
        assert answer.accepted == (parsed is not None), (answer.message, status)
        seen[answer.accepted] += 1
        if parsed is not None:
            assert answer.body.get("status", {}) == to_document(parsed)

    compare()
    assert min(seen.values()) >= 20, seen


def test_a_namespace_of_a_cluster_scoped_document_is_ignored(server: AskedApiserver) -> None:
    document = document_of("ComputePool", {})
    document["metadata"] = {"name": "a", "namespace": "other"}
    answer = server.try_create(document)
    assert answer.accepted, answer.message
    assert "namespace" not in answer.body["metadata"]
    assert KINDS["ComputePool"].names.scope is Scope.CLUSTER


# ---------------------------------------------------------------- what is shown

STATUSES: dict[str, Document] = {
    "Dataset": {"version": 3, "items": 5000, "labeled": 4990, "labels": 7, "refused": 10},
    "Search": {
        "progress": "12/64",
        "trials": {"completed": 9, "pruned": 2, "failed": 1},
        "best": {"number": 4, "metric": "val/log_loss", "value": 0.24681012141618},
        "deviceHours": 1.5,
    },
    "Training": {"epoch": 3, "metric": "val/precision_at_1", "value": 1.0},
    "ComputePool": {
        "resource": "nvidia.com/gpu",
        "hosts": 1,
        "capacity": {"nodes": 3, "ready": 3, "allocatable": 12, "inUse": 4, "available": 8},
    },
}


@EVERY_KIND
def test_kubectl_lists_what_strandline_lists(
    plane: ControlPlane, server: AskedApiserver, kind: str
) -> None:
    document = document_of(kind, MINIMAL[kind])
    document["metadata"] = {"name": "shown"}
    stored = server.create(document)
    resource = _resource(stored, {})
    actions = reconcile(resource, Observed(NOON))
    status = next((dict(a.status) for a in actions if isinstance(a, WriteStatus)), {})
    answer = server.put_status({**stored, "status": {**status, **STATUSES.get(kind, {})}}, False)
    assert answer.accepted, answer.message
    plural = f"{KINDS[kind].names.plural}.strandline.dev"
    for wide in (False, True):
        options = ["-o", "wide"] if wide else []
        shown = plane.kubectl("get", plural, "shown", *options)
        resource = _resource(answer.body, answer.body["status"])
        row = row_of(resource, datetime.now(UTC), wide, prefixed=False)
        headings = headings_of(kind, wide)
        assert _cells(shown, headings)[:-1] == row[:-1]  # the age goes on in between


def _resource(document: Document, status: Document) -> Resource:
    metadata = document["metadata"]
    return Resource(
        kind=document["kind"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        resource_version=1,
        labels={},
        annotations={},
        spec=document.get("spec", {}),
        status=status,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
    )


def _cells(table: str, headings: list[str]) -> list[str]:
    """Read the one row of a table by where its headings start."""
    head, row = table.splitlines()
    assert head.split() == headings
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], len(row)]
    return [row[start:end].strip() for start, end in zip(starts, ends, strict=True)]


def test_kubectl_finds_kinds_by_short_name_and_category(
    plane: ControlPlane, server: AskedApiserver
) -> None:
    for kind in KINDS:
        for short in KINDS[kind].names.short:
            assert json.loads(plane.kubectl("get", short, "-o", "json"))["kind"] == "List"
    listed = plane.kubectl("get", "strandline", "-o", "name")
    assert {line.partition(".")[0] for line in listed.splitlines()} <= {
        KINDS[kind].names.singular for kind in KINDS
    }
