"""What can be told of the images without building them; a cluster's tests build and run them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.deploy.chart import ROOT, Document, render

_DOCKERFILES = sorted(
    path for top in ("images", "operators", "services") for path in (ROOT / top).rglob("Dockerfile")
)


@pytest.fixture(params=_DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT).parent))
def instructions(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """The instructions of one Dockerfile: (word, rest)."""
    path: Path = request.param
    text = re.sub(r"^#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word]


def test_the_base_is_an_argument(instructions: list[tuple[str, str]]) -> None:
    assert instructions[0][0] == "ARG"
    assert instructions[0][1].startswith("BASE_IMAGE=")
    begun = [rest.split() for word, rest in instructions if word == "FROM"]
    stages = {words[2] for words in begun if len(words) == 3}
    assert {words[0] for words in begun} - stages == {"${BASE_IMAGE}"}


def test_the_user_is_a_number_and_not_root(instructions: list[tuple[str, str]]) -> None:
    last = [rest for word, rest in instructions if word == "USER"][-1]
    assert re.fullmatch("[1-9][0-9]*:[1-9][0-9]*", last)


def test_everything_that_is_copied_is_in_the_context(instructions: list[tuple[str, str]]) -> None:
    sent = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    for word, rest in instructions:
        if word == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in sent, f"{source} is not sent: see .dockerignore"


def test_versions_are_those_of_the_lock_and_no_index_is_named(
    instructions: list[tuple[str, str]],
) -> None:
    text = " ".join(rest for word, rest in instructions if word == "RUN")
    assert "--constraint versions.txt" in text
    assert not re.search(r"index-url|find-links|https?://", text)


def test_programs_that_the_chart_calls_by_name_are_on_the_path() -> None:
    for name in ("operators/strandline", "images/train"):
        text = (ROOT / name / "Dockerfile").read_text("utf-8")
        assert re.search(r"^ENV PATH=/opt/strandline/bin:", text, re.MULTILINE)
    commands = {
        container["command"][0]
        for _, pod in render({"ray": {"enabled": True}}).pods()
        for container in _containers(pod)
        if "/strandline/" in container["image"] and "command" in container
    }
    assert commands == {"python", "ray"}


def test_the_user_of_the_images_is_the_one_of_the_pods() -> None:
    for name, pod in render({"ray": {"enabled": True}}).pods():
        if any("/strandline/" in each["image"] for each in _containers(pod)):
            assert pod["spec"]["securityContext"]["runAsUser"] == 65532, name


def _containers(pod: Document) -> list[Document]:
    found: list[Document] = pod["spec"]["containers"]
    return found
