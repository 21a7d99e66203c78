"""The page about Kubernetes and the chart's: values in them render, paths in them are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.chart import NAMESPACE, HelmError, render, set_value

_ROOT = Path(__file__).parents[2]
_PAGES = ("docs/tutorials/install-on-kubernetes.md", "helm/strandline/README.md")


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in _PAGES:
        text = (_ROOT / page).read_text("utf-8")
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)):
            yield f"{page}#{number}", block


_VALUES = list(_blocks("yaml"))


def _commands() -> list[str]:
    lines = "".join(block for _, block in _blocks("console")).replace("\\\n", " ").splitlines()
    return [line.partition("   #")[0].removeprefix("$ ") for line in lines]


@pytest.mark.parametrize("block", [text for _, text in _VALUES], ids=[name for name, _ in _VALUES])
def test_values_that_are_shown_are_taken(block: str) -> None:
    assert render(yaml.safe_load(block)).documents


def test_what_a_command_sets_is_taken_together() -> None:
    found = [command for command in _commands() if "--set " in command]
    assert len(found) == 2
    for command in found:
        values: dict[str, Any] = {}
        for path, value in re.findall(r"--set (\S+?)=(\S+)", command):
            values = set_value(values, path, yaml.safe_load(value))
        assert render(values).documents


def test_files_that_commands_name_are_there() -> None:
    named = {
        word
        for command in _commands()
        for word in command.split()
        if re.match(r"(helm|manifests|operators|images)/", word)
    }
    assert len(named) >= 6
    for path in named:
        assert (_ROOT / path).exists(), path


def test_links_lead_somewhere() -> None:
    for page in _PAGES:
        folder = (_ROOT / page).parent
        for target in re.findall(r"\]\(([^)#]+)", (_ROOT / page).read_text("utf-8")):
            assert (folder / target).exists(), f"{page}: {target}"


def test_objects_that_commands_name_are_made() -> None:
    rendering = render({})
    made = {(each["kind"].lower(), each["metadata"]["name"]) for each in rendering.documents}
    for command in _commands():
        if NAMESPACE in command:
            for kind, name in re.findall(r"(deployment|service)/([a-z-]+)", command):
                assert (kind, name) in made, command
            for name in re.findall(r"get secret ([a-z-]+)", command):
                assert ("secret", name) in made, command


def test_secrets_of_ones_own_have_the_keys_that_the_page_names() -> None:
    text = (_ROOT / "helm/strandline/README.md").read_text("utf-8")
    values = {
        "storage": {"existingSecret": "a"},
        "minio": {"existingSecret": "b"},
        "postgresql": {"existingSecret": "c"},
        "ray": {"enabled": True, "token": {"existingSecret": "d"}},
    }
    rendering = render(values)
    assert rendering.names("Secret") == set()
    for _, pod in rendering.pods():
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                key = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("key")
                assert key is None or f"`{key}`" in text


def test_the_page_is_right_that_helm_refuses_half_a_storage() -> None:
    with pytest.raises(HelmError):
        render({"postgresql": {"enabled": False}})
