"""The page on Katib shows what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from click.testing import CliRunner

from strandline.cli.main import main
from strandline.jobs.katib.algorithms import KATIB_ALGORITHMS, SEED
from strandline.jobs.katib.convert_space import known_parameters
from strandline.learn.custom_space import custom_space
from strandline.spec.documents import parse_documents
from strandline.spec.records import Task
from strandline.spec.v1alpha1 import Search

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "reference" / "katib.md").read_text("utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)


def test_the_experiment_shown_converts_to_the_search_shown() -> None:
    done = CliRunner().invoke(
        main, ["katib", "convert", "-", "--dataset", "birds"], input=BLOCKS[0]
    )
    assert yaml.safe_load(done.stdout) == yaml.safe_load(BLOCKS[1])


def test_the_search_shown_is_one_that_strandlines_trials_can_run() -> None:
    search = parse_documents(BLOCKS[1])[0].model
    assert isinstance(search, Search)
    parameters = search.spec.space.parameters or []
    space = custom_space(search.spec.space, ["efficientnet-lite0"], Task.MULTICLASS)
    assert {each.name for each in parameters} <= {each.name for each in space.parameters}


def test_the_lines_of_the_report_are_the_programs(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text(BLOCKS[0], "utf-8")
    path = tmp_path / "experiment.yaml"
    done = CliRunner().invoke(main, ["katib", "convert", str(path), "--dataset", "birds"])
    told = {tuple(re.split(r" {2,}", line)[1:]) for line in done.stderr.splitlines()}
    (text,) = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    shown = [tuple(re.split(r" {2,}", line)[1:]) for line in text.splitlines()]
    assert len(shown) == 6
    assert set(shown) <= told


def test_the_table_lists_every_algorithm_with_the_settings_that_carry_over() -> None:
    for name, known in KATIB_ALGORITHMS.items():
        carried = [key for key, setting in known.settings.items() if setting.ours is not None]
        ours = f"`{known.ours}`"
        if known.early_stopping:
            ours += f" with `earlyStopping: {known.early_stopping}`"
        settings = ", ".join(f"`{each}`" for each in carried)
        served = "no" if known.unserved else "yes"
        assert re.sub(" +", " ", f"| `{name}` | {ours} | {settings} | {served} |") in PAGE
    assert SEED not in PAGE.split("| algorithm in Katib |")[1].split("\n\n")[0]


def test_the_page_names_every_parameter_of_strandlines_trials() -> None:
    for name in known_parameters():
        assert f"`{name}`" in PAGE


def test_the_configuration_shown_names_algorithms_that_are_served() -> None:
    sample = (REPOSITORY / "services" / "katib-suggestion" / "katib-config.yaml").read_text("utf-8")
    for text in (BLOCKS[2], sample):
        for entry in yaml.safe_load(text)["runtime"]["suggestions"]:
            name = entry["algorithmName"]
            known = KATIB_ALGORITHMS.get(name)
            assert name.startswith("strandline-") or (known and not known.unserved)
