"""Documents from anywhere: every problem is named, and nothing harmful is unfolded."""

from __future__ import annotations

import json
import tracemalloc

import pytest
import yaml

from strandline.spec.documents import parse_documents
from strandline.spec.errors import InvalidSpecError
from strandline.spec.v1alpha1 import Dataset, Model, Search, to_document
from strandline.spec.yaml_text import MAX_BYTES

HEAD = "apiVersion: strandline.dev/v1alpha1\n"
SEARCH = HEAD + "kind: Search\nmetadata: {name: quick}\nspec: {dataset: {name: coast}}\n"
DATASET = HEAD + "kind: Dataset\nmetadata: {name: coast}\nspec: {source: {uri: /data}}\n"


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidSpecError) as caught:
        parse_documents(text, "a.yaml")
    return str(caught.value)


def test_several_documents_come_out_typed_and_in_order() -> None:
    found = parse_documents(f"---\n{DATASET}---\n---\n{SEARCH}---\n", "a.yaml")
    assert [type(each.model) for each in found] == [Dataset, Search]
    assert [each.model.metadata.name for each in found] == ["coast", "quick"]


def test_empty_text_holds_no_document() -> None:
    assert parse_documents("# nothing\n---\n", "a.yaml") == []


def test_every_problem_of_every_document_is_named_with_its_line() -> None:
    text = SEARCH.replace("{dataset: {name: coast}}", "\n  dataste: {name: coast}\n  seed: x")
    said = refusal(f"{DATASET}---\n{text}---\n{HEAD}kind: Sarch\n").splitlines()
    assert said == [
        "a.yaml, document 2, line 9: spec.dataset is missing: add it",
        "a.yaml, document 2, line 11: spec.seed: input should be a valid integer, but it is 'x'",
        "a.yaml, document 2, line 10: spec.dataste is not a field: did you mean dataset?",
        "a.yaml, document 3, line 14: kind 'Sarch' is not known: did you mean Search?",
    ]


def test_a_long_list_of_problems_is_cut() -> None:
    said = refusal("\n---\n".join(["[]"] * 30)).splitlines()
    assert len(said) == 21
    assert said[-1] == "… and 10 more problems"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("just text", "a document is an object"),
        ("kind: Search", "apiVersion is missing"),
        (HEAD, "kind is missing"),
        ("apiVersion: v1\nkind: Pod", "knows strandline.dev/v1alpha1"),
        (SEARCH.replace("quick", "Quick_1"), "lower-case letters, digits"),
        (SEARCH.replace("quick", "12"), "in quotes"),
        (SEARCH.replace("{name: quick}", "{name: quick, labels: {a: no}}"), "in quotes"),
        (SEARCH + "unknown: 1\n", "unknown is not a field"),
        (SEARCH + "unknown: ~\n", "unknown is not a field"),
        (
            SEARCH.replace("coast}", "coast}, trial_timeout: 5m"),
            "spec.trial_timeout is not a field: did you mean trialTimeout?",
        ),
        (SEARCH.replace("coast}", "coast}, budget: {}"), "spec.budget: a budget needs"),
        (
            SEARCH.replace("coast}", "coast}, algorithm: {name: tpe, settings: {a: [1]}}"),
            "spec.algorithm.settings.a: it must be a number, text, true or false",
        ),
        (SEARCH.replace("coast}", "coast}, trialTimeout: 5 minutes"), "a duration like 45s"),
        ("a: 1\nb: [\n", "line 3"),
        ("a: 1\na: 2\n", "line 2: 'a' stands twice"),
        ("spec: {b: {c: 1, c: 2}}", "'c' stands twice"),
        ("{? [a, b] : c}", "a field name must be text"),
        ("!!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("!!binary aGk=", "a document is an object"),
        ("a: \x07", "#x0007"),
        (b"\xff\xfe\x00", "not UTF-8"),
        ("&a [*a]", "an alias holds itself"),
        ("*nowhere", "undefined alias"),
        ("{" * 1000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('{"a": NaN}', "NaN is not a number"),
    ],
)
def test_what_is_wrong_is_said(text: str | bytes, words: str) -> None:
    assert words in refusal(text)


def test_an_alias_bomb_is_refused_without_being_unfolded() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
    )
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        said = refusal(bomb)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert "unfolds to more than" in said
    assert peak < 20_000_000


def test_a_merge_key_bomb_is_refused_too() -> None:
    bomb = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30)
    )
    assert "unfolds to more than" in refusal(bomb)


def test_harmless_aliases_are_read() -> None:
    text = HEAD + "kind: Model\nmetadata: {name: a, labels: &l {team: birds}, annotations: *l}\n"
    (found,) = parse_documents(text)
    assert found.model.metadata.annotations == {"team": "birds"}


def test_text_that_is_too_large_is_refused_unread() -> None:
    assert "split it" in refusal(b"#" * (MAX_BYTES + 1))


def test_numbers_and_dates_are_read_as_kubernetes_tools_do() -> None:
    text = SEARCH.replace("coast}", "coast}, stop: {goal: 1e-4}")
    (found,) = parse_documents(text)
    assert isinstance(found.model, Search)
    assert found.model.spec.stop.goal == 1e-4
    (found,) = parse_documents(
        HEAD + "kind: Model\nmetadata: {name: a}\nspec: {description: 2026-01-31}\n"
    )
    assert isinstance(found.model, Model)
    assert found.model.spec.description == "2026-01-31"


def test_a_null_counts_as_absent() -> None:
    text = SEARCH.replace("{name: coast}", "{name: coast, version: null}, seed: ~")
    (found,) = parse_documents(text)
    (plain,) = parse_documents(SEARCH)
    assert found.model == plain.model


def test_json_with_tabs_and_escaped_pairs_is_read() -> None:
    document = {
        "apiVersion": "strandline.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "a"},
        "spec": {"description": "gull 🐦\tand tab"},
    }
    (found,) = parse_documents(json.dumps(document, indent="\t"))
    assert isinstance(found.model, Model)
    assert found.model.spec.description == "gull 🐦\tand tab"


def test_what_get_prints_can_be_applied_again() -> None:
    (found,) = parse_documents(SEARCH)
    printed = to_document(found.model)
    printed["metadata"] |= {
        "uid": "1",
        "generation": 3,
        "resourceVersion": "9",
        "creationTimestamp": "2026-01-31T00:00:00Z",
        "managedFields": [{}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    printed["status"] = {"conditions": []}
    listed = {"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [printed, printed]}
    again = parse_documents(yaml.safe_dump(listed))
    assert [each.model for each in again] == [found.model, found.model]


def test_a_problem_inside_a_list_names_its_line() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- " + SEARCH.replace("\n", "\n  ").rstrip()
    text = text.replace("name: coast", "nme: coast")
    assert "document 1, line 7" in refusal(text)
