"""Where commands act: what `--cluster` and kubectl's options mean, and what is said without."""

from __future__ import annotations

import importlib.util
import os
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from strandline.cli.main import main
from strandline.cli.where import Where, where

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("STRANDLINE_", "KUBE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STRANDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))


def run(*words: str, obj: Any = None) -> Result:
    return CliRunner().invoke(main, words, obj=obj)


def leaves(command: click.Command) -> Iterator[click.Command]:
    if not isinstance(command, click.Group):
        yield command
        return
    for each in command.commands.values():
        yield from leaves(each)


def test_every_command_takes_kubectls_options_and_no_help_is_longer_for_it() -> None:
    for command in leaves(main):
        taken = {name: each for each in command.params for name in each.opts}
        for name in ("--context", "--kubeconfig", "--namespace"):
            option = taken[name]
            assert isinstance(option, click.Option)
            assert option.hidden, command.name


@pytest.mark.parametrize("words", [["get", "all", "-n", "a"], ["--context", "a", "get", "all"]])
def test_options_of_a_cluster_need_one(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "--cluster" in result.stderr


def seen(*words: str, obj: Any = None) -> Where:
    found: list[Where] = []

    @click.command()
    def look() -> None:
        found.append(where())

    main.add_command(look)
    try:
        from strandline.cli.where import cluster_options

        look.params += cluster_options(hidden=True)
        assert run(*words, obj=obj).exit_code == 0
    finally:
        del main.commands["look"]
    return found[0]


def test_options_stand_before_or_after_the_verb() -> None:
    wanted = Where(cluster=True, context="prod", namespace="birds")
    assert seen("--cluster", "--context", "prod", "-n", "birds", "look") == wanted
    assert seen("--cluster", "look", "--namespace=birds", "--context", "prod") == wanted
    assert seen("--cluster", "-n", "fish", "look", "-n", "birds", "--context=prod") == wanted


def test_the_plugin_is_on_a_cluster_without_saying_so() -> None:
    assert seen("look", "-n", "birds", obj=Where(cluster=True)).cluster
    assert not seen("look").cluster


def test_without_a_kubeconfig_it_says_what_is_missing() -> None:
    result = run("--cluster", "get", "searches")
    assert result.exit_code == 3
    assert "cannot connect to a cluster: there is no kubeconfig" in result.stderr
    assert "--kubeconfig" in result.stderr


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n")
    result = run("--cluster", "--kubeconfig", str(config), "--context", "prod", "get", "all")
    assert result.exit_code == 3
    assert "prod" in result.stderr


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> Any:
        return None if name == "kubernetes" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    result = run("--cluster", "get", "searches")
    assert result.exit_code == 9
    assert "strandline[cluster]" in result.stderr


def test_nothing_is_made_here_by_a_command_for_a_cluster(tmp_path: Path) -> None:
    run("--cluster", "get", "searches")
    run("--cluster", "models", "list")
    assert not (tmp_path / "home").exists()


def test_programs_that_are_installed_are_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert {"strandline", "kubectl-strandline", "kubectl_complete-strandline"} <= set(scripts)
    for target in scripts.values():
        module, _, name = target.partition(":")
        assert callable(getattr(import_module(module), name))
