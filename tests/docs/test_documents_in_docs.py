"""Every document shown in the samples and the reference can be applied as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strandline.cli.resources import COMMANDS
from strandline.spec.documents import parse_documents
from strandline.spec.v1alpha1 import KINDS, AcceleratorKind, ComputePool

REPOSITORY = Path(__file__).parents[2]
SAMPLES = sorted((REPOSITORY / "manifests" / "samples").glob("*.yaml"))
PAGES = [*sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "README.md"]


def blocks() -> list[tuple[str, str]]:
    found = [(str(path.relative_to(REPOSITORY)), path.read_text("utf-8")) for path in SAMPLES]
    for page in PAGES:
        for number, block in enumerate(
            re.findall(r"```ya?ml\n(.*?)```", page.read_text("utf-8"), re.S)
        ):
            if "strandline.dev/" in block and "kind: CustomResourceDefinition" not in block:
                found.append((f"{page.relative_to(REPOSITORY)}#{number}", block))
    return found


@pytest.mark.parametrize(("source", "text"), blocks(), ids=[source for source, _ in blocks()])
def test_a_shown_document_can_be_applied(source: str, text: str) -> None:
    assert parse_documents(text, source)


def test_there_is_a_sample_of_every_kind() -> None:
    shown = {each.model.kind for path in SAMPLES for each in parse_documents(path.read_bytes())}
    assert shown == set(KINDS)


def test_there_is_a_sample_of_every_sort_of_pool() -> None:
    text = (REPOSITORY / "manifests" / "samples" / "pools.yaml").read_bytes()
    models = [each.model for each in parse_documents(text)]
    pools = [model.spec for model in models if isinstance(model, ComputePool)]
    assert {pool.accelerator.kind for pool in pools} == set(AcceleratorKind)
    assert any(pool.spot for pool in pools)
    assert any(pool.queue for pool in pools)
    assert [pool.hosts for pool in pools if pool.tpu and pool.tpu.topology == "4x4"] == [4]


def test_the_page_of_commands_names_them_all() -> None:
    page = (REPOSITORY / "docs" / "reference" / "cli-resources.md").read_text("utf-8")
    for command in COMMANDS:
        if not command.hidden:
            assert f"| `{command.name}" in page
