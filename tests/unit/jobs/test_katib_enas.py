"""Networks of Katib's ENAS Experiments in the form that its trial image reads."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest

from strandline.jobs.katib.declared import Declared
from strandline.jobs.katib.enas import ArchitectureCoder
from strandline.jobs.katib.requests import (
    Condition,
    Experiment,
    NasConfig,
    Operation,
    PastTrial,
    Request,
)
from strandline.jobs.katib.suggest import suggest, validate
from strandline.spec.errors import InvalidSpecError

OPERATIONS = (
    Operation(
        "convolution",
        (
            Declared("filter_size", "categorical", values=("3", "5")),
            Declared("num_filter", "categorical", values=("32", "48", "64")),
        ),
    ),
    Operation("reduction", (Declared("pool_size", "int", "2", "3", "1"),)),
    Operation("dropout", (Declared("rate", "double", "0.1", "0.3", "0.1"),)),
)


def make_nas(**changes: Any) -> NasConfig:
    given: dict[str, Any] = {
        "layers": 4,
        "input_sizes": (32, 32, 3),
        "output_sizes": (10,),
        "operations": OPERATIONS,
    }
    return NasConfig(**{**given, **changes})


def test_a_network_lists_its_operations_and_connections() -> None:
    coder = ArchitectureCoder(make_nas())
    candidate = coder.space.sample(np.random.default_rng(1))
    given = dict(coder.assignments(candidate))
    assert given.keys() == {"architecture", "nn_config"}
    assert '"' not in given["architecture"] + given["nn_config"]
    network = ast.literal_eval(given["architecture"])
    config = ast.literal_eval(given["nn_config"])
    assert [len(row) for row in network] == [1, 2, 3, 4]
    assert (config["num_layers"], config["input_sizes"], config["output_sizes"]) == (
        4,
        [32, 32, 3],
        [10],
    )
    assert set(config["embedding"]) == {str(row[0]) for row in network}
    for number, operation in config["embedding"].items():
        assert operation["opt_id"] == int(number)
    assert coder.candidate(tuple(given.items())) == candidate


def test_operations_are_numbered_by_every_choice_of_their_parameters() -> None:
    coder = ArchitectureCoder(make_nas(layers=1))
    found = {}
    for number in coder.space.parameters[0].listed() or ():
        config = ast.literal_eval(dict(coder.assignments({"layer0": number}))["nn_config"])
        found.update(config["embedding"])
    assert len(found) == 2 * 3 + 2 + 3
    assert found["1"]["opt_params"] == {"filter_size": "3", "num_filter": "48"}
    assert found["7"] == {"opt_id": 7, "opt_type": "reduction", "opt_params": {"pool_size": 3}}
    assert found["10"]["opt_params"] == {"rate": 0.3}


def test_architectures_are_searched_like_any_other_space() -> None:
    experiment = Experiment("nas", (), "maximize", "accuracy", "strandline-tpe", nas=make_nas())
    validate(experiment)
    trials: list[PastTrial] = []
    for number in range(30):
        given = suggest(Request(experiment, trials, 1, number))[0]
        network = ast.literal_eval(dict(given)["architecture"])
        value = repr(sum(row[0] >= 6 for row in network))
        trials.append(
            PastTrial(Condition.SUCCEEDED, f"2026-01-01T00:00:{number:02}Z", given, value)
        )
    assert len({trial.assignments for trial in trials}) == 30
    values = [float(trial.value or 0) for trial in trials]
    assert np.mean(values[20:]) > np.mean(values[:10])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 0}, "numLayers"),
        ({"layers": 65}, "1 to 64"),
        ({"input_sizes": ()}, "inputSizes"),
        ({"output_sizes": ()}, "outputSizes"),
        ({"operations": ()}, "list at least one"),
        ({"operations": (Operation("", ()),)}, "operationType"),
        (
            {"operations": (Operation("drop", (Declared("p", "double", "0", "1"),)),)},
            "needs a step",
        ),
        ({"operations": (Operation("x", (Declared("p", "int", "1", "99999"),)),)}, "too many"),
        ({"operations": (Operation("x", (Declared("p", "int", "b", "9"),)),)}, "finite number"),
    ],
)
def test_an_incomplete_or_endless_configuration_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidSpecError, match=words):
        ArchitectureCoder(make_nas(**changes))


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", "[[0], [1]]", "[[99]]", "[[0], [1, 0], [2, 0, 0], [3, 0, 0, 2]]"]
)
def test_a_trial_of_another_space_is_recognised(text: str) -> None:
    with pytest.raises(InvalidSpecError):
        ArchitectureCoder(make_nas()).candidate((("architecture", text),))
