"""Converted Experiments are valid Searches, and no field of them is lost in silence."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import pytest
from hypothesis import given, strategies as st

from strandline.jobs.katib.algorithms import KATIB_ALGORITHMS, MEDIAN_STOP, SEED
from strandline.jobs.katib.convert import (
    PLACEHOLDER,
    Conversion,
    InvalidExperimentError,
    convert,
)
from strandline.jobs.katib.documents import convert_documents
from strandline.jobs.katib.fates import Fate, Outcome, leaves, shown
from strandline.search.registry import ALGORITHMS, SCHEDULERS, make_algorithm
from strandline.search.scheduler import Population
from strandline.spec.documents import parse_document
from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import Goal
from strandline.testing.searches import LINE

STOPPING = "earlyStopping."
TEMPLATE: dict[str, Any] = {
    "retain": True,
    "primaryContainerName": "main",
    "primaryPodLabels": {"role": "trainer"},
    "successCondition": "status.ok",
    "failureCondition": "status.bad",
    "trialParameters": [{"name": "rate", "description": "How fast", "reference": "lr"}],
    "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0}},
}


def make_parameter(name: str = "lr", type_: str = "double", **space: Any) -> dict[str, Any]:
    space = space or {"min": "0.1", "max": "0.9"}
    return {"name": name, "parameterType": type_, "feasibleSpace": space}


def make_experiment(**spec: Any) -> dict[str, Any]:
    """A minimal Experiment; `spec` replaces fields, None takes them away."""
    whole: dict[str, Any] = {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"},
        "algorithm": {"algorithmName": "random"},
        "parallelTrialCount": 2,
        "maxTrialCount": 12,
        "parameters": [make_parameter()],
        **spec,
    }
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": "tuning", "namespace": "team"},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def named(*settings: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in settings]


def fate_of(conversion: Conversion, path: str) -> Fate:
    return next(fate for fate in conversion.fates if fate.path == path)


def first_parameter(**space: Any) -> tuple[Any, Conversion]:
    type_ = space.pop("type_", "double")
    conversion = convert(make_experiment(parameters=[make_parameter("x", type_, **space)]))
    parameters = conversion.search.spec.space.parameters
    assert parameters is not None
    return parameters[0], conversion


FULL = make_experiment(
    objective={
        "type": "maximize",
        "goal": 0.99,
        "objectiveMetricName": "Validation accuracy",
        "additionalMetricNames": ["loss"],
        "metricStrategies": named(("loss", "min"), ("Validation accuracy", "latest")),
    },
    algorithm={
        "algorithmName": "tpe",
        "algorithmSettings": named(("random_state", "7"), ("gamma", "0.25")),
    },
    earlyStopping={
        "algorithmName": "medianstop",
        "algorithmSettings": named(("min_trials_required", "3"), ("start_step", "2")),
    },
    parameters=[
        make_parameter("lr", min="0.01", max="0.1", step="0.01", distribution="normal"),
        make_parameter("num-layers", "int", min="1", max="8", distribution="logNormal"),
        make_parameter("batch", "discrete", list=["64", "8", "16", "8"]),
        make_parameter("head", "categorical", list=["a", "b"], distribution="uniform"),
        make_parameter("epochs", "int", min="3", max="3", step="1"),
    ],
    maxFailedTrialCount=3,
    resumePolicy="FromVolume",
    trialTemplate=TEMPLATE,
    metricsCollectorSpec={
        "collector": {"kind": "File"},
        "source": {"fileSystemPath": {"path": "/log", "kind": "File"}},
    },
)
FULL["metadata"] |= {
    "labels": {"team": "birds", "not a label": "x"},
    "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    "uid": "1234",
}
FULL["status"] = {"trials": 3, "conditions": [{"type": "Running"}]}

NAS = make_experiment(
    parameters=None,
    algorithm={
        "algorithmName": "enas",
        "algorithmSettings": named(("controller_train_steps", "9")),
    },
    nasConfig={
        "graphConfig": {"numLayers": 4, "inputSizes": [32, 32, 3], "outputSizes": [10]},
        "operations": [
            {
                "operationType": "convolution",
                "parameters": [make_parameter("filter_size", "categorical", list=["3", "5"])],
            },
            {"operationType": "skip_connection"},
        ],
    },
)


@pytest.mark.parametrize("document", [FULL, NAS, make_experiment()], ids=["full", "nas", "small"])
def test_every_leaf_of_the_experiment_has_exactly_one_fate(document: dict[str, Any]) -> None:
    told = [fate.path for fate in convert(document).fates if fate.outcome is not Outcome.ADDED]
    assert told == [shown(path) for path, _ in leaves(document)]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("document", [FULL, NAS], ids=["full", "nas"])
def test_every_field_of_katibs_api_is_known_and_what_has_no_equal_says_why(
    document: dict[str, Any],
) -> None:
    for fate in convert(document).fates:
        assert "knows no such field" not in fate.note, fate
        assert fate.note or fate.outcome is Outcome.CONVERTED, fate
        assert fate.target or fate.outcome is not Outcome.CONVERTED, fate


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    place=st.integers(min_value=0, max_value=1000),
    key=st.text(min_size=1, max_size=8).map(lambda text: f"x-{text}"),
    junk=JUNK,
)
def test_a_field_that_nobody_knows_is_reported_wherever_it_stands(
    place: int, key: str, junk: Any
) -> None:
    document = copy.deepcopy(FULL)
    objects = list(_objects(document))
    chosen = objects[place % len(objects)]
    chosen[key] = junk
    try:
        fates = convert(document).fates
    except InvalidExperimentError:
        return  # refused with a reason is not lost either
    told = {fate.path: fate for fate in fates}
    kept = (document["metadata"]["labels"], document["metadata"]["annotations"])
    for path, _ in leaves(document):
        assert shown(path) in told
        if key in path and all(chosen is not each for each in kept):
            assert told[shown(path)].outcome is not Outcome.CONVERTED


def _objects(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
    for each in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _objects(each)


def test_the_search_says_what_the_experiment_said() -> None:
    search = convert(FULL, "birds").search
    spec = search.spec
    assert (search.metadata.name, search.metadata.labels) == ("tuning", {"team": "birds"})
    assert spec.dataset.name == "birds"
    assert (spec.objectives[0].metric, spec.objectives[0].goal) == (
        "Validation_accuracy",
        Goal.MAXIMIZE,
    )
    assert (spec.stop.goal, spec.seed, spec.parallelism) == (0.99, 7, 2)
    assert (spec.budget.trials, spec.budget.time, spec.max_failed_trials) == (12, None, 3)
    assert spec.algorithm.name == "tpe"
    assert spec.early_stopping.name == "median"
    assert spec.early_stopping.settings == {"least": 3, "grace": 2}
    names = [parameter.name for parameter in spec.space.parameters or ()]
    assert names == ["lr", "num_layers", "batch", "head", "epochs"]


def test_the_document_is_what_a_person_would_write_and_reads_back() -> None:
    conversion = convert(FULL)
    assert parse_document(conversion.document) == conversion.search
    assert "pools" not in conversion.document["spec"]
    assert conversion.search.spec.dataset.name == PLACEHOLDER
    assert "--dataset" in fate_of(conversion, "spec.dataset.name").note


@pytest.mark.parametrize(
    ("space", "expected", "outcome"),
    [
        ({}, {"log": False, "step": None}, None),
        ({"step": "0.1"}, {"step": 0.1}, ("step", Outcome.CONVERTED)),
        ({"distribution": "uniform"}, {"log": False}, ("distribution", Outcome.CONVERTED)),
        ({"distribution": "logUniform"}, {"log": True}, ("distribution", Outcome.CONVERTED)),
        ({"distribution": "normal"}, {"log": False}, ("distribution", Outcome.APPROXIMATED)),
        ({"distribution": "logNormal"}, {"log": True}, ("distribution", Outcome.APPROXIMATED)),
        (
            {"distribution": "logUniform", "step": "0.1"},
            {"log": True, "step": None},
            ("step", Outcome.NO_EQUAL),
        ),
    ],
)
def test_a_range_keeps_its_bounds_scale_and_step(
    space: Mapping[str, str], expected: Mapping[str, Any], outcome: tuple[str, Outcome] | None
) -> None:
    parameter, conversion = first_parameter(min="0.1", max="0.9", **space)
    assert (parameter.type.value, parameter.min, parameter.max) == ("float", 0.1, 0.9)
    assert {key: getattr(parameter, key) for key in expected} == expected
    if outcome is not None:
        field, wanted = outcome
        assert fate_of(conversion, f"spec.parameters[0].feasibleSpace.{field}").outcome is wanted


def test_an_int_keeps_its_step_and_numbers_may_stand_without_quotes() -> None:
    parameter, _ = first_parameter(type_="int", min=2, max=10, step=2)
    assert (parameter.type.value, parameter.min, parameter.max, parameter.step) == ("int", 2, 10, 2)


def test_discrete_values_become_an_ordinal_in_ascending_order() -> None:
    parameter, _ = first_parameter(type_="discrete", list=["64", "8", "1e1", "8"])
    assert (parameter.type.value, parameter.values) == ("ordinal", ["8", "1e1", "64"])


def test_categorical_values_keep_their_order() -> None:
    parameter, _ = first_parameter(type_="categorical", list=["sgd", "adam"])
    assert (parameter.type.value, parameter.values) == ("categorical", ["sgd", "adam"])


def test_a_range_of_one_number_becomes_a_constant() -> None:
    parameter, conversion = first_parameter(type_="int", min="1", max="1")
    assert (parameter.type.value, parameter.values) == ("categorical", ["1"])
    fate = fate_of(conversion, "spec.parameters[0].parameterType")
    assert fate.outcome is Outcome.APPROXIMATED


def test_names_that_come_to_the_same_stay_apart() -> None:
    document = make_experiment(
        parameters=[make_parameter("a-b"), make_parameter("a_b"), make_parameter("1st")]
    )
    parameters = convert(document).search.spec.space.parameters or []
    assert [each.name for each in parameters] == ["a_b", "a_b_", "_1st"]


@pytest.mark.parametrize("name", KATIB_ALGORITHMS)
def test_each_algorithm_of_katib_with_all_its_settings_is_converted(name: str) -> None:
    values = {"restart_strategy": "ipop", "base_estimator": "GP", "acq_func": "EI"}
    values |= {"acq_optimizer": "auto", "n_population": "40", "eta": "3", "r_l": "9"}
    values |= {"batch_size": "64"}
    settings = {
        setting: values.get(setting, "1")
        for setting in KATIB_ALGORITHMS[name].settings
        if setting != "n_EI_candidates"  # hyperopt's spelling of the one before
    }
    algorithm = {"algorithmName": name, "algorithmSettings": named(*settings.items())}
    # Architectures are all that Katib's DARTS searches.
    base = make_darts() if name == "darts" else make_experiment()
    conversion = convert({**base, "spec": {**base["spec"], "algorithm": algorithm}})
    assert conversion.search.spec.algorithm.name == KATIB_ALGORITHMS[name].ours
    told = [f for f in conversion.fates if f.path.startswith("spec.algorithm.algorithmSettings")]
    assert len(told) == 2 * len(settings)


@pytest.mark.parametrize("name", KATIB_ALGORITHMS)
def test_the_settings_that_algorithms_are_given_are_theirs(name: str) -> None:
    ours = KATIB_ALGORITHMS[name]
    theirs = signature(_registered(ALGORITHMS[ours.ours])).parameters
    for setting in ours.settings.values():
        elsewhere = str(setting.ours).startswith((STOPPING, "space."))
        if setting.ours not in (None, SEED) and not elsewhere:
            assert setting.ours in theirs


def test_population_based_training_converts_with_all_of_its_settings() -> None:
    settings = named(
        ("n_population", "8"),
        ("truncation_threshold", "0.4"),
        ("resample_probability", "0.1"),
        ("suggestion_trial_dir", "/opt/katib/data"),
    )
    experiment = make_experiment(algorithm={"algorithmName": "pbt", "algorithmSettings": settings})
    algorithm = convert(experiment).search.spec.algorithm
    assert algorithm.name == "pbt"
    assert algorithm.settings == {"population": 8, "truncation": 0.4, "resample": 0.1}
    made = make_algorithm(algorithm.name, LINE, 0, algorithm.settings)
    assert isinstance(made, Population)


def test_the_settings_that_early_stopping_is_given_are_its_own() -> None:
    given = [("median", str(setting.ours)) for setting in MEDIAN_STOP.values()]
    for known in KATIB_ALGORITHMS.values():
        ours = [str(setting.ours) for setting in known.settings.values()]
        given += [(known.early_stopping, each) for each in ours if each.startswith(STOPPING)]
    assert len(given) == 3
    for rule, setting in given:
        theirs = signature(_registered(SCHEDULERS[rule])).parameters
        assert setting.removeprefix(STOPPING) in theirs


def _registered(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def test_hyperband_becomes_early_stopping() -> None:
    algorithm = {
        "algorithmName": "hyperband",
        "algorithmSettings": named(("eta", "4"), ("r_l", "9"), ("resource_name", "lr")),
    }
    spec = convert(make_experiment(algorithm=algorithm)).search.spec
    assert (spec.early_stopping.name, spec.early_stopping.settings) == ("hyperband", {"eta": 4})


def test_hyperband_leaves_no_room_for_another_rule() -> None:
    conversion = convert(
        make_experiment(
            algorithm={"algorithmName": "hyperband"},
            earlyStopping={"algorithmName": "medianstop"},
        )
    )
    assert conversion.search.spec.early_stopping.name == "hyperband"
    fate = fate_of(conversion, "spec.earlyStopping.algorithmName")
    assert fate.outcome is Outcome.NO_EQUAL


def test_an_algorithm_of_ours_comes_back_with_its_settings() -> None:
    algorithm = {
        "algorithmName": "strandline-tpe",
        "algorithmSettings": named(("startup", "4"), ("random_state", "9")),
    }
    conversion = convert(make_experiment(algorithm=algorithm))
    assert conversion.document["spec"]["algorithm"] == {"name": "tpe", "settings": {"startup": 4}}
    assert conversion.search.spec.seed == 9


@pytest.mark.parametrize("field", ["algorithm", "earlyStopping"])
def test_an_image_that_is_not_katibs_own_has_no_equal(field: str) -> None:
    settings = named(("depth", "3"))
    chosen = {"algorithmName": "magic", "algorithmSettings": settings}
    conversion = convert(make_experiment(**{field: chosen}))
    told = [f for f in conversion.fates if f.path.startswith(f"spec.{field}.")]
    assert [fate.outcome for fate in told] == [Outcome.NO_EQUAL] * 3 + [Outcome.ADDED]


def test_a_seed_beyond_ours_is_said_to_be_another() -> None:
    algorithm = {
        "algorithmName": "random",
        "algorithmSettings": named(("random_state", str(2**31 + 5))),
    }
    conversion = convert(make_experiment(algorithm=algorithm))
    assert conversion.search.spec.seed == 5
    fate = fate_of(conversion, "spec.algorithm.algorithmSettings[0].value")
    assert fate.outcome is Outcome.APPROXIMATED


def test_an_architecture_search_takes_the_preset_of_architectures() -> None:
    conversion = convert(NAS)
    space = conversion.search.spec.space
    assert (space.preset.value, space.parameters) == ("cells", None)
    assert space.family is not None
    assert space.family.value == "nasnet"
    fate = fate_of(conversion, "spec.nasConfig.operations[0].operationType")
    assert (fate.outcome, "3x3" in fate.note) == (Outcome.NO_EQUAL, True)


DARTS = {
    "num_epochs": "50",
    "w_lr": "0.025",
    "w_lr_min": "0.001",
    "w_momentum": "0.9",
    "w_weight_decay": "0.0003",
    "w_grad_clip": "5.0",
    "alpha_lr": "0.0003",
    "alpha_weight_decay": "0.001",
    "batch_size": "128",
    "num_workers": "4",
    "init_channels": "16",
    "print_step": "50",
    "num_nodes": "4",
    "stem_multiplier": "3",
}


def make_darts(**changes: Any) -> dict[str, Any]:
    """Return an Experiment like Katib's example of DARTS, with every setting there is."""
    operations = [
        {"operationType": name, "parameters": [make_parameter("k", "categorical", list=["3"])]}
        for name in ("separable_convolution", "dilated_convolution", "avg_pooling")
    ]
    given: dict[str, Any] = {
        "parameters": None,
        "algorithm": {
            "algorithmName": "darts",
            "algorithmSettings": named(*DARTS.items()),
        },
        "nasConfig": {"graphConfig": {"numLayers": 3}, "operations": operations},
        "maxTrialCount": 1,
    }
    return make_experiment(**{**given, **changes})


def test_a_differentiable_search_is_one_here_too_with_its_settings() -> None:
    conversion = convert(make_darts())
    spec = conversion.search.spec
    assert spec.algorithm.name == "darts"
    assert spec.algorithm.settings == {
        "epochs": 50,
        "learning_rate": 0.0003,
        "weight_decay": 0.001,
    }
    space, rerank = spec.space, spec.rerank
    assert space.family is not None
    assert space.family.value == "darts"
    assert (space.network and space.network.filters, rerank and rerank.candidates) == (16, 1)
    schedule = space.schedule
    assert schedule is not None
    assert (schedule.learning_rate, schedule.weight_decay) == (0.025, 0.0003)
    assert schedule.batch_size == 128
    told = [fate.path for fate in conversion.fates if fate.outcome is not Outcome.ADDED]
    assert told == [shown(path) for path, _ in leaves(make_darts())]
    without = {
        list(DARTS)[place]
        for place in range(len(DARTS))
        if fate_of(conversion, f"spec.algorithm.algorithmSettings[{place}].value").outcome
        is Outcome.NO_EQUAL
    }
    assert without == {
        *("w_lr_min", "w_momentum", "w_grad_clip", "num_workers"),
        *("print_step", "num_nodes", "stem_multiplier"),
    }


def test_a_differentiable_search_of_parameters_is_refused() -> None:
    document = make_darts(nasConfig=None, parameters=[make_parameter("x", min="0", max="1")])
    with pytest.raises(InvalidExperimentError, match="darts searches architectures"):
        convert(document)


def test_what_katib_assumes_is_stated() -> None:
    document = make_experiment(parallelTrialCount=None, maxTrialCount=None)
    conversion = convert(document)
    assert conversion.search.spec.parallelism == 3
    assert conversion.search.spec.early_stopping.name == "none"
    added = {fate.target for fate in conversion.fates if fate.outcome is Outcome.ADDED}
    assert {"spec.parallelism", "spec.budget.time", "spec.earlyStopping.name"} <= added


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"parameters": None}, "spec.parameters", "missing"),
        ({"parameters": "lr"}, "spec.parameters", "a list"),
        ({"parameters": [make_parameter(type_="float")]}, "parameterType", "double, int"),
        ({"parameters": [make_parameter(min="2", max="1")]}, "feasibleSpace.min", "above max"),
        ({"parameters": [make_parameter(min="a", max="1")]}, "feasibleSpace.min", "finite number"),
        ({"parameters": [make_parameter(min="nan", max="1")]}, "feasibleSpace.min", "finite"),
        ({"parameters": [make_parameter(min="1")]}, "feasibleSpace.max", "missing"),
        ({"parameters": [make_parameter(min="0", max="1", step="0")]}, "step", "above 0"),
        (
            {"parameters": [make_parameter(min="0", max="1", distribution="logUniform")]},
            "feasibleSpace.min",
            "above 0",
        ),
        ({"parameters": [make_parameter("n", "int", min="1.5", max="2")]}, "min", "whole"),
        ({"parameters": [make_parameter("n", "discrete", list=["a"])]}, "list", "no number"),
        ({"parameters": [make_parameter("n", "categorical", list=[])]}, "list", "empty"),
        ({"parameters": [make_parameter("")]}, "name", "name the parameter"),
        ({"objective": {"type": "best"}}, "objective.type", "minimize or maximize"),
        ({"algorithm": {}}, "algorithmName", "multivariate-tpe"),
        (
            {
                "algorithm": {
                    "algorithmName": "strandline-tpe",
                    "algorithmSettings": named(("startup", "x")),
                }
            },
            "algorithmSettings",
            "whole number",
        ),
        (
            {"algorithm": {"algorithmName": "tpe", "algorithmSettings": named(("depth", "1"))}},
            "algorithmSettings[0]",
            "n_startup_trials",
        ),
        (
            {
                "algorithm": {
                    "algorithmName": "random",
                    "algorithmSettings": named(("random_state", "x")),
                }
            },
            "algorithmSettings[0]",
            "whole number from 0",
        ),
        ({"maxTrialCount": 0}, "maxTrialCount", "from 1"),
        ({"maxTrialCount": [1]}, "maxTrialCount", "one value"),
        ({"resumePolicy": "Maybe"}, "resumePolicy", "LongRunning"),
        ({"nasConfig": {"graphConfig": {"numLayers": 1}}}, "spec.parameters", "exclude"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_what_to_do(
    spec: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(InvalidExperimentError) as caught:
        convert(make_experiment(**spec))
    found = [text for place, text in caught.value.problems if path in shown(place)]
    assert any(words in text for text in found), caught.value.problems


def test_all_problems_of_all_documents_are_told_at_once_with_their_lines() -> None:
    text = (
        "apiVersion: kubeflow.org/v1beta1\nkind: Experiment\nmetadata: {name: a}\n"
        "spec:\n  maxTrialCount: many\n  objective: {type: minimize}\n---\n"
        "apiVersion: kubeflow.org/v1alpha3\nkind: Experiment\n"
    )
    with pytest.raises(InvalidSpecError) as caught:
        convert_documents([("old.yaml", text)])
    said = str(caught.value)
    assert "old.yaml, document 1, line 5: spec.maxTrialCount" in said
    assert "old.yaml, document 1, line 6: spec.objective.objectiveMetricName" in said
    assert "document 2" in said
    assert "kubeflow.org/v1beta1" in said


def test_lists_are_unpacked_and_other_kinds_are_left_out_with_a_word() -> None:
    import yaml

    listed = {"apiVersion": "v1", "kind": "List", "items": [make_experiment(), make_experiment()]}
    text = yaml.safe_dump_all(
        [{"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}, listed]
    )
    found = convert_documents([("all.yaml", text)])
    assert [each.document is None for each in found] == [True, False, False]
    assert [each.origin for each in found] == [
        "all.yaml#1",
        "all.yaml#2.items[0]",
        "all.yaml#2.items[1]",
    ]
    assert {fate.note for fate in found[0].fates} == {"a ConfigMap, not an Experiment: left out"}


@pytest.mark.parametrize("text", ["", "kind: ConfigMap\n", "- 1\n", "just words\n"])
def test_a_text_without_experiments_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpecError, match="Experiment"):
        convert_documents([("notes.yaml", text)])
