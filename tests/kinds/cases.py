"""A document for each rule of each kind: accepted, or refused with words that name the fix."""

from __future__ import annotations

from typing import Any

from strandline.spec.v1alpha1 import API_VERSION

Document = dict[str, Any]
Case = tuple[str, Document, str | None]
"""Kind, spec, and what the refusal says (a regular expression); None for an accepted one."""

MINIMAL: dict[str, Document] = {
    "Dataset": {"source": {"uri": "x"}},
    "LabelingJob": {"dataset": {"name": "coast"}},
    "ComputePool": {},
    "Endpoint": {"models": [{"name": "coast"}]},
    "BatchPrediction": {
        "model": {"name": "coast"},
        "source": {"uri": "x"},
        "output": {"uri": "y"},
    },
    "Search": {"dataset": {"name": "coast"}},
    "Training": {"dataset": {"name": "coast"}, "cell": {"search": "cells"}},
    "Model": {},
}
"""The least that a spec of each kind may say."""


def document_of(kind: str, spec: Document) -> Document:
    """Return the document of a kind with this spec."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec}


def tpu(
    topology: str,
    accelerator: str = "tpu-v5-lite-podslice",
    count: int | None = None,
    hosts: int | None = None,
) -> Document:
    """Return the spec of a pool of TPU slices."""
    per_host = {} if count is None else {"count": count}
    given = {} if hosts is None else {"numOfHosts": hosts}
    return {
        "accelerator": {"kind": "tpu", **per_host},
        "tpu": {"accelerator": accelerator, "topology": topology, **given},
    }


def _parameter(**fields: Any) -> Document:
    return {"space": {"preset": "custom", "parameters": [{"name": "lr", **fields}]}}


def _one_shot(name: str, family: str = "darts", **changes: Any) -> Document:
    space = {"preset": "cells", "family": family}
    return {"algorithm": {"name": name}, "space": space, "rerank": {}, **changes}


_SEARCH: list[tuple[Document, str | None]] = [
    ({}, None),
    (_parameter(type="float", min=0, max=1), None),
    (_parameter(type="float", min=1, max=1), "min must be below max"),
    (_parameter(type="float", min=0, max=1, log=True), "log parameter needs a min above 0"),
    (_parameter(type="float", min=1e-9, max=1, log=True), None),
    (_parameter(type="float", max=1), "take values; float and int min and max"),
    (_parameter(type="categorical", values=["a"]), None),
    (_parameter(type="categorical", values=["a", "a"]), "twice|repeated"),
    (_parameter(type="categorical", values=["a"], log=True), "log belongs|log parameter"),
    (_parameter(type="categorical", values=["a"], min=1), "take values"),
    (_parameter(type="ordinal", values=["low", "high"]), None),
    (_parameter(type="ordinal", min=1, max=2), "take values"),
    (_parameter(type="ordinal", values=["a"], log=True), "log belongs|log parameter"),
    (_parameter(type="ordinal", values=["a"], step=1), "step belongs"),
    (_parameter(type="float", min=0, max=1, step=0.25), None),
    (_parameter(type="float", min=0, max=1, step=0), "greater than 0|minimum"),
    (_parameter(type="float", min=0.1, max=1, step=0.1, log=True), "step belongs"),
    (_parameter(type="int", min=0, max=9, step=3), None),
    (_parameter(type="int", min=0, max=9, step=1.5), "whole number"),
    (_parameter(type="int", min=1, max=3), None),
    (_parameter(type="int", min=1.5, max=3), "whole numbers"),
    (_parameter(type="int", min=1, max=1e300), "whole numbers"),
    (
        _parameter(type="int", min=1, max=3, when={"parameter": "lr", "values": ["1"]}),
        "condition of itself",
    ),
    (
        _parameter(type="int", min=1, max=3, when={"parameter": "head", "values": ["1"]}),
        "must name a parameter",
    ),
    ({"space": {"preset": "custom"}}, "custom needs at least one"),
    ({"space": {"preset": "transfer", "parameters": []}}, None),
    ({"space": {"backbones": ["a"]}}, None),
    (
        {
            "space": {
                "preset": "custom",
                "backbones": ["a"],
                "parameters": [{"name": "b", "type": "int", "min": 0, "max": 1}],
            }
        },
        "backbones belong to preset transfer",
    ),
    (_one_shot("enas"), None),
    (_one_shot("darts"), None),
    (_one_shot("darts", rerank=None), "enas and darts need"),
    (_one_shot("enas", "mbconv"), None),
    (_one_shot("darts", "mbconv"), "darts cannot relax the family mbconv"),
    ({"budget": {}}, "needs trials, time or deviceHours"),
    ({"budget": {"trials": 1}}, None),
    ({"budget": {"time": "0h0s"}}, "above 0s"),
    ({"trialTimeout": "0m"}, "trialTimeout must be above 0s"),
    ({"trialTimeout": "90s"}, None),
    ({"pools": [{"name": "a"}, {"name": "a"}]}, "twice|repeated"),
    ({"rerank": {}}, "belongs to the space preset cells"),
    ({"space": {"preset": "cells", "family": "darts"}, "rerank": {}}, None),
    ({"algorithm": {"name": "enas"}}, "enas and darts need the space preset cells"),
    ({"space": {"preset": "cells"}}, "preset cells needs a family"),
    ({"space": {"family": "darts"}}, "preset cells needs a family"),
    ({"warmStart": [{"search": "a", "fork": True}, {"search": "b"}]}, None),
    (
        {"warmStart": [{"search": "a", "fork": True}, {"search": "b", "fork": True}]},
        "may fork one search only",
    ),
    ({"algorithm": {"name": "tpe", "settings": {"a": 1, "b": 0.5, "c": "d", "e": True}}}, None),
    ({"algorithm": {"name": "tpe", "settings": {"a": []}}}, "valid|short|non-empty"),
    ({"algorithm": {"name": "tpe", "settings": {"a": {"b": 1}}}}, "valid|many|empty"),
    ({"pools": [{"name": "a", "workers": 2}, {"name": "b"}], "driver": {"pool": "b"}}, None),
    ({"pools": [{"name": "a", "workers": 0}]}, "greater than|minimum"),
    ({"ttl": "a while"}, "pattern|match"),
    ({"objectives": [{"metric": "a"}, {"metric": "a", "goal": "minimize"}]}, "twice|repeated"),
]

_POOL: list[tuple[Document, str | None]] = [
    ({}, None),
    ({"accelerator": {"kind": "gpu"}}, None),
    ({"accelerator": {"kind": "gpu", "resource": "amd.com/gpu", "count": 8}}, None),
    ({"accelerator": {"kind": "gpu", "resource": "gpu"}}, "pattern|match"),
    ({"accelerator": {"count": 1}}, "kind cpu has no devices"),
    ({"accelerator": {"kind": "tpu"}}, "belong together"),
    ({"tpu": {"accelerator": "tpu-v6e-slice", "topology": "4x4"}}, "belong together"),
    (tpu("4x4"), None),
    (tpu("4x4", hosts=4), None),
    (tpu("4x4", hosts=2), "numOfHosts is the product"),
    (tpu("4x4", count=4), None),
    (tpu("4x4", count=8), "one host of 1, 4 or 8 chips"),
    (tpu("4x4", count=16), "one host of 1, 4 or 8 chips"),
    (tpu("1x1"), None),
    (tpu("2x2"), None),
    (tpu("2x4", count=8, hosts=1), None),
    (tpu("2x4", hosts=2), None),
    (tpu("2x4", count=4, hosts=1), "numOfHosts is the product"),
    (tpu("3x3"), "one host of 1, 4 or 8 chips"),
    (tpu("4x4x4"), "two dimensions"),
    (tpu("4x4x4", "tpu-v5p-slice", hosts=16), None),
    (tpu("4x4", "tpu-v5p-slice"), "three dimensions"),
    (tpu("2x2x1", "tpu7x", hosts=1), None),
    (tpu("4x4", "tpu-v9-slice"), None),
    (tpu("4by4"), "pattern|match"),
    (
        {**tpu("4x4"), "nodeSelector": {"cloud.google.com/gke-tpu-topology": "4x4"}},
        "selects the nodes by accelerator and topology",
    ),
    ({"nodeSelector": {"not a key": "a"}}, "every key must be|pattern"),
    ({"nodeSelector": {"key": "not a value"}}, "pattern|match"),
    ({"tolerations": [{}]}, "tolerates every taint"),
    ({"tolerations": [{"operator": "Exists"}]}, None),
    ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "takes any value"),
    ({"tolerations": [{"key": "a", "tolerationSeconds": 5}]}, "belongs to effect NoExecute"),
    (
        {"tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}]},
        None,
    ),
    ({"workers": {"min": 2, "max": 1}}, "must not be below min"),
    ({"workers": {"min": 0, "max": 4}}, None),
    ({"cpu": "500m", "memory": "512Mi"}, None),
    ({"cpu": 1.5}, "integer|valid|type"),
    ({"memory": "16"}, "pattern|match"),
]


def _labeling(**fields: Any) -> Document:
    return {"dataset": {"name": "coast"}, **fields}


def _models(*models: Document, **fields: Any) -> Document:
    return {"models": [{"name": "coast", **each} for each in models], **fields}


def _batch(**fields: Any) -> Document:
    return {"model": {"name": "coast"}, "output": {"uri": "answers"}, **fields}


_THREE = [{"version": 1, "traffic": 60}, {"version": 2, "traffic": 40}]
_OTHER: list[Case] = [
    ("LabelingJob", _labeling(), None),
    ("LabelingJob", _labeling(answers={"min": 6}), "must not be above answers.max"),
    ("LabelingJob", _labeling(answers={"max": 1}), "lower lead, or raise max"),
    ("LabelingJob", _labeling(answers={"max": 1, "lead": 1}), None),
    ("LabelingJob", _labeling(annotators={"names": ["ada"]}), "at least as many annotators"),
    ("LabelingJob", _labeling(annotators={"names": ["ada"], "groups": ["all"]}), None),
    ("LabelingJob", _labeling(annotators={"names": ["ada", "grace"]}), None),
    ("LabelingJob", _labeling(annotators={"names": ["ada"]}, answers={"lead": 1}), None),
    ("LabelingJob", _labeling(lease="0m"), "above 0s"),
    ("LabelingJob", _labeling(extraAnswers=["delete", "delete"]), "twice|repeated"),
    ("LabelingJob", _labeling(extraAnswers=[]), None),
    ("LabelingJob", _labeling(labels=[{"name": "a"}, {"name": "a"}]), "twice|repeated"),
    ("LabelingJob", _labeling(deadline="tomorrow"), "pattern|match"),
    ("LabelingJob", _labeling(deadline="2027-02-30T00:00:00Z"), "a day that exists"),
    ("LabelingJob", _labeling(deadline="2027-01-31T18:00:00+02:00"), None),
    ("LabelingJob", _labeling(priority=3.0), None),
    ("Endpoint", _models({}), None),
    ("Endpoint", _models(), "at least 1|too short|non-empty"),
    ("Endpoint", _models({"traffic": 90}), "sum up to 100"),
    ("Endpoint", _models(*_THREE), None),
    ("Endpoint", _models({}, {"version": 2, "shadow": True}), None),
    ("Endpoint", _models({"shadow": True}), "sum up to 100"),
    ("Endpoint", _models({"traffic": 50}, {"traffic": 50}), "stands in models twice"),
    ("Endpoint", _models({"traffic": 50}, {"version": 1, "traffic": 50}), None),
    ("Endpoint", _models({}, replicas={"min": 2}), "raise max"),
    ("Endpoint", _models({}, replicas={"min": 0, "idle": "0s"}), "idle must be above 0s"),
    ("Endpoint", _models({}, rollout={"steps": [5, 25, 50]}), None),
    ("Endpoint", _models({}, rollout={"steps": [50, 5]}), "ascending order"),
    ("Endpoint", _models({}, rollout={"steps": [100]}), "less than or equal to 99|maximum"),
    ("Endpoint", _models({}, rollout={"interval": "0s"}), "interval must be above 0s"),
    ("Endpoint", _models({}, tlsSecret="cert"), "set host too"),
    ("Endpoint", _models({}, tlsSecret="cert", host="gulls.example.com"), None),
    ("BatchPrediction", _batch(), "give one of the two"),
    ("BatchPrediction", _batch(source={"uri": "x"}), None),
    ("BatchPrediction", _batch(dataset={"name": "coast"}), None),
    ("BatchPrediction", _batch(dataset={"name": "a"}, source={"uri": "x"}), "give one of the two"),
    ("BatchPrediction", _batch(source={"uri": "x"}, maxFailedItems=-1), "greater than|minimum"),
    ("Training", {"dataset": {"name": "a"}, "cell": {}}, "a cell is either"),
    ("Training", {"dataset": {"name": "a"}, "cell": {"search": "s"}, "workers": 2}, None),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"family": "darts"}},
        "a cell is either",
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"family": "darts", "genotype": {"a": 1}}},
        None,
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"family": "darts", "genotype": {}, "trial": 1}},
        "trial belongs to search",
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"search": "s"}, "epochTimeout": "0s"},
        "epochTimeout must be above 0s",
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"search": "s"}, "workers": 2, "minWorkers": 3},
        "must not be above workers",
    ),
    (
        "Training",
        {"dataset": {"name": "a"}, "cell": {"search": "s"}, "workers": 65},
        "must not be above schedule.batchSize",
    ),
]

_DATASET: list[tuple[Document, str | None]] = [
    ({"split": {"validation": 0.5, "test": 0.5}}, "below 1"),
    ({"split": {"validation": 0.5, "test": 0.25}}, None),
    ({"ttl": "1h"}, None),
]

CASES: list[Case] = [
    *(("Search", {"dataset": {"name": "coast"}, **spec}, said) for spec, said in _SEARCH),
    *(("ComputePool", spec, said) for spec, said in _POOL),
    *(("Dataset", {"source": {"uri": "x"}, **spec}, said) for spec, said in _DATASET),
    *_OTHER,
]
"""Every rule at least once, from both sides."""
