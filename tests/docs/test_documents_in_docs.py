"""Every document shown in the samples and the reference can be applied as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strandline.cli.resources import COMMANDS
from strandline.spec.documents import parse_documents

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


def test_the_page_of_commands_names_them_all() -> None:
    page = (REPOSITORY / "docs" / "reference" / "cli-resources.md").read_text("utf-8")
    for command in COMMANDS:
        if not command.hidden:
            assert f"| `{command.name}" in page
