"""apply, get, describe, delete, wait and logs on a real SQLite catalog."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from strandline import compose
from strandline.adapters.local_jobs import claim_run, log_path
from strandline.cli.agent import AGENT_SWITCH
from strandline.cli.resources import COMMANDS
from strandline.compose import Platform
from strandline.spec.conditions import Why, mark_done, mark_failed
from strandline.spec.errors import (
    FailedRunError,
    InvalidSpecError,
    NotFoundError,
    StrandlineError,
)
from strandline.spec.records import (
    Event,
    Failure,
    FailureKind,
    ModelVersion,
    Task,
    Trial,
    TrialState,
)
from strandline.spec.settings import load_settings
from strandline.spec.v1alpha1 import KINDS

HEAD = "apiVersion: strandline.dev/v1alpha1\n"
DATASET = HEAD + "kind: Dataset\nmetadata: {name: coast, labels: {team: birds}}\n"
DATASET += "spec: {source: {uri: images}}\n"
SEARCH = HEAD + "kind: Search\nmetadata: {name: quick, labels: {team: birds, stage: test}}\n"
SEARCH += "spec: {dataset: {name: coast}}\n"
MODEL = HEAD + "kind: Model\nmetadata: {name: coast}\n"
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("STRANDLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STRANDLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(AGENT_SWITCH, "off")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def catalog_place(home: Path) -> Platform:
    return compose.local(load_settings())


@pytest.fixture
def run(home: Path) -> Run:
    group = click.Group(commands={command.name or "": command for command in COMMANDS})

    def invoke(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(group, words, input=stdin)

    return invoke


@pytest.fixture
def ok(run: Run) -> Callable[..., str]:
    def invoke(*words: str, stdin: str | None = None) -> str:
        result = run(*words, stdin=stdin)
        assert result.exit_code == 0, result.exception or result.output
        return result.stdout

    return invoke


def failed(result: Result, error: type[StrandlineError]) -> str:
    assert isinstance(result.exception, error), result.exception
    return str(result.exception)


Ok = Callable[..., str]

# ---------------------------------------------------------------- apply


def test_apply_creates_then_changes_nothing_then_configures(ok: Ok) -> None:
    text = f"{DATASET}---\n{SEARCH}"
    assert ok("apply", "-f", "-", stdin=text) == "dataset/coast created\nsearch/quick created\n"
    assert ok("apply", "-f", "-", stdin=text) == "dataset/coast unchanged\nsearch/quick unchanged\n"
    changed = SEARCH.replace("coast}", "coast}, seed: 7")
    assert ok("apply", "-f", "-", stdin=changed) == "search/quick configured\n"


def test_nothing_is_applied_when_one_document_is_wrong(run: Run, ok: Ok) -> None:
    result = run("apply", "-f", "-", stdin=f"{DATASET}---\n{SEARCH.replace('dataset', 'data')}")
    assert "stdin, document 2, line" in failed(result, InvalidSpecError)
    assert ok("get", "all", "-o", "name") == ""


def test_apply_reads_directories_and_more_than_one_file(ok: Ok, tmp_path: Path) -> None:
    inner = tmp_path / "docs" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "docs" / "b.yml").write_text(SEARCH)
    (tmp_path / "docs" / "a.yaml").write_text(DATASET)
    (tmp_path / "docs" / "notes.txt").write_text("not a document")
    (inner / "c.json").write_text(json.dumps(yaml.safe_load(MODEL)))
    flat = ok("apply", "-f", "docs", "--dry-run")
    assert flat == "dataset/coast created (dry run)\nsearch/quick created (dry run)\n"
    assert ok("get", "all", "-o", "name") == ""
    assert "model/coast created" in ok("apply", "-R", "-f", "docs")
    assert ok("apply", "-f", "docs/a.yaml", "-f", "docs/b.yml").count("unchanged") == 2


def test_apply_prints_documents_and_names(ok: Ok) -> None:
    printed = json.loads(ok("apply", "-f", "-", "-o", "json", stdin=DATASET))
    assert printed["metadata"]["name"] == "coast"
    assert printed["spec"]["split"] == {"validation": 0.0, "test": 0.2, "seed": 0}
    assert ok("apply", "-f", "-", "-o", "name", stdin=DATASET) == "dataset/coast\n"
    listed = yaml.safe_load(ok("apply", "-f", "-", "-o", "yaml", stdin=f"{DATASET}---\n{MODEL}"))
    assert [each["kind"] for each in listed["items"]] == ["Dataset", "Model"]


def test_dry_run_tells_what_would_change(ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=DATASET)
    changed = DATASET.replace("birds", "gulls")
    assert "unchanged (dry run)" in ok("apply", "-f", "-", "--dry-run=server", stdin=DATASET)
    assert "configured (dry run)" in ok("apply", "-f", "-", "--dry-run", stdin=changed)
    assert "configured\n" in ok("apply", "-f", "-", "--dry-run=none", stdin=changed)


def test_relative_sources_start_at_the_folder_of_the_document(ok: Ok, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(
        DATASET.replace("{uri: images}", "{uri: images, root: ../files}")
    )
    ok("apply", "-f", "sub/a.yaml")
    source = json.loads(ok("get", "ds", "coast", "-o", "json"))["spec"]["source"]
    assert source["uri"] == str(tmp_path / "sub" / "images")
    assert source["root"] == str(tmp_path / "sub" / ".." / "files")
    ok("apply", "-f", "-", stdin=DATASET)
    source = json.loads(ok("get", "ds", "coast", "-o", "json"))["spec"]["source"]
    assert source["uri"] == str(tmp_path / "images")
    ok("apply", "-f", "-", stdin=DATASET.replace("images", "s3://bucket/x"))
    assert ok("get", "ds", "coast", "-o", "jsonpath={.spec.source.uri}") == "s3://bucket/x\n"


@pytest.mark.parametrize(
    ("words", "stdin", "error", "said"),
    [
        (["-f", "nowhere.yaml"], None, NotFoundError, "does not exist"),
        (["-f", "-"], "", InvalidSpecError, "no document"),
        (["-f", "https://example.com/a.yaml"], None, InvalidSpecError, "download it"),
        (["-f", "-"], f"{MODEL}---\n{MODEL}", InvalidSpecError, "keep one of them"),
        (["-f", "-", "-o", "xml"], MODEL, InvalidSpecError, "choose among text, json"),
    ],
)
def test_apply_refuses_with_what_to_do(
    run: Run, words: list[str], stdin: str | None, error: type[StrandlineError], said: str
) -> None:
    assert said in failed(run("apply", *words, stdin=stdin), error)


def test_a_foreign_namespace_is_mentioned(run: Run) -> None:
    result = run("apply", "-f", "-", stdin=MODEL.replace("coast", "coast, namespace: birds"))
    assert result.stdout == "model/coast created\n"
    assert "one namespace only" in result.stderr


# ---------------------------------------------------------------- get


def test_kinds_answer_to_all_their_names(ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=f"{DATASET}---\n{SEARCH}---\n{MODEL}")
    for word in ("searches", "search", "srch", "SEARCHES", "Search", "searches.strandline.dev"):
        assert ok("get", word, "-o", "name") == "search/quick\n"
    assert ok("get", "ds,mdl", "-o", "name") == "dataset/coast\nmodel/coast\n"
    assert ok("get", "search/quick", "ds/coast", "-o", "name") == "search/quick\ndataset/coast\n"


def test_tables_look_like_kubectl(ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=f"{DATASET}---\n{SEARCH}")
    lines = ok("get", "searches").splitlines()
    assert lines[0].split() == [
        *("NAME", "READY", "REASON", "DATASET", "TRIALS", "BEST", "HOURS", "MODEL", "AGE")
    ]
    assert lines[1].split()[:2] == ["quick", "coast"]
    assert "PRUNED" in ok("get", "searches", "-o", "wide")
    assert "NAME" not in ok("get", "searches", "--no-headers")
    assert "search/quick" in ok("get", "all")


def test_an_empty_list_is_no_error_and_says_so_on_stderr(run: Run) -> None:
    result = run("get", "searches")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "No resources found\n"
    assert json.loads(run("get", "searches", "-o", "json").stdout)["items"] == []


def test_a_missing_name_is_an_error_after_what_was_found(run: Run, ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    result = run("get", "search", "quick", "slow")
    assert "quick" in result.stdout
    assert failed(result, NotFoundError) == 'searches "slow" not found'
    assert run("get", "search", "slow", "--ignore-not-found").exit_code == 0


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("team=birds", ["dataset/coast", "search/quick"]),
        ("team==birds,stage!=test", ["dataset/coast"]),
        ("stage in (test, live)", ["search/quick"]),
        ("stage notin (test)", ["dataset/coast", "model/coast"]),
        ("stage", ["search/quick"]),
        ("!team", ["model/coast"]),
        ("team=fish", []),
    ],
)
def test_selectors_pick_by_label(ok: Ok, selector: str, expected: list[str]) -> None:
    ok("apply", "-f", "-", stdin=f"{DATASET}---\n{SEARCH}---\n{MODEL}")
    assert ok("get", "all", "-l", selector, "-o", "name").split() == expected


def test_long_lists_come_in_pages_and_in_any_order(run: Run, ok: Ok) -> None:
    documents = [MODEL.replace("coast", f"m{n}") for n in range(5)]
    ok("apply", "-f", "-", stdin="---\n".join(documents))
    first = run("get", "models", "--limit", "2", "-o", "name")
    assert first.stdout == "model/m0\nmodel/m1\n"
    assert "--continue m1" in first.stderr
    rest = run("get", "models", "--continue", "m1", "--limit", "9", "-o", "json")
    assert [each["metadata"]["name"] for each in json.loads(rest.stdout)["items"]] == [
        *("m2", "m3", "m4")
    ]
    page = json.loads(run("get", "models", "--limit", "1", "-o", "json").stdout)
    assert page["metadata"]["continue"] == "m0"
    ok("apply", "-f", "-", stdin=documents[3] + "spec: {description: a}\n")
    by_text = ok("get", "models", "--sort-by", "{.spec.description}", "-o", "name").split()
    assert by_text[-1] == "model/m3"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get"], "say what"),
        (["get", "serches"], "did you mean searches"),
        (["get", "search/a", "b"], "KIND/NAME"),
        (["get", "searches", "-o", "xml"], "choose among"),
        (["get", "searches", "-l", "a=b=c"], "selector"),
        (["get", "searches", "--sort-by", "{["], "path"),
        (["get", "all", "--limit", "1"], "one kind"),
        (["wait", "search/a", "--for", "ready"], "--for=ready"),
        (["wait", "search/a", "--for", "delete", "--timeout", "soon"], "not a duration"),
        (["logs", "model/coast"], "search/NAME"),
    ],
)
def test_a_wrong_command_line_is_refused_with_a_hint(
    run: Run, ok: Ok, words: list[str], said: str
) -> None:
    ok("apply", "-f", "-", stdin=MODEL)
    assert said in failed(run(*words), InvalidSpecError)


def test_what_get_prints_can_be_applied_again(ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=f"{DATASET}---\n{SEARCH}---\n{MODEL}")
    for form in ("yaml", "json"):
        again = ok("apply", "-f", "-", stdin=ok("get", "all", "-o", form))
        assert again.count("unchanged") == 3


def test_a_model_shows_its_versions(ok: Ok, catalog_place: Platform) -> None:
    ok("apply", "-f", "-", stdin=MODEL)
    assert ok("get", "mdl", "coast").splitlines()[1].split()[:3] == [
        *("coast", "False", "WaitingForVersion")
    ]
    catalog_place.catalog.add_model_version(model_version())
    row = ok("get", "mdl", "coast", "--no-headers").split()
    assert row[:3] == ["coast", "True", "VersionReady"]
    assert "precision_at_1=0.9000" in row
    page = ok("describe", "model", "coast")
    assert "precision_at_1=0.9000" in page
    assert ok("wait", "model/coast", "--for=condition=Ready", "--timeout=0").endswith(
        "condition met\n"
    )


def model_version() -> ModelVersion:
    return ModelVersion(
        model="coast",
        version=1,
        bundle=DIGEST,
        task=Task.MULTICLASS,
        labels=("a", "b"),
        dataset="coast",
        dataset_digest=DIGEST,
        metrics={"precision_at_1": 0.9},
        created_at=NOON,
    )


def test_watch_prints_what_changes(
    ok: Ok, run: Run, catalog_place: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            status = mark_done({}, Why("Finished", "Done.", 1, NOON))
            catalog_place.catalog.update_status("Search", "quick", status)
        if len(naps) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("strandline.cli.place.time.sleep", nap)
    lines = run("get", "searches", "-w").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "quick", "quick"]
    assert "Finished" in lines[2]


# ---------------------------------------------------------------- describe


def test_describe_tells_everything(ok: Ok, catalog_place: Platform) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    catalog = catalog_place.catalog
    uid = catalog.get_resource("Search", "quick").uid
    catalog.update_status(
        "Search", "quick", mark_failed({}, Why("OutOfDisk", "No space left.", 1, NOON))
    )
    for number, loss in enumerate([0.5, 0.2, 0.9]):
        catalog.record_trial(
            Trial(
                search=uid,
                number=number,
                candidate={"head": f"h{number}\x1b[31m"},
                state=TrialState.COMPLETED,
                metrics={"val/log_loss": loss},
            )
        )
    failure = Failure(kind=FailureKind.OUT_OF_MEMORY, message="gone")
    catalog.record_trial(
        Trial(search=uid, number=3, candidate={}, state=TrialState.FAILED, failure=failure)
    )
    catalog.record_event(
        Event(kind="Search", name="quick", type="Normal", reason="JobStarted", message="m", at=NOON)
    )
    page = ok("describe", "search/quick")
    assert "Labels:       stage=test, team=birds" in page
    assert "OutOfDisk" in page
    assert "3 completed, 1 failed" in page
    assert "1 out-of-memory" in page
    assert "JobStarted" in page
    assert "\x1b" not in page
    best = [line.split()[0] for line in page.splitlines() if "head=" in line]
    assert best == ["1", "0", "2"]


def test_describe_of_a_missing_object_is_an_error(run: Run) -> None:
    assert "not found" in failed(run("describe", "search", "a"), NotFoundError)


# ---------------------------------------------------------------- delete


def test_delete_by_name_file_and_selector(run: Run, ok: Ok) -> None:
    text = f"{DATASET}---\n{SEARCH}---\n{MODEL}"
    ok("apply", "-f", "-", stdin=text)
    assert ok("delete", "search", "quick") == 'search "quick" deleted\n'
    assert failed(run("delete", "search/quick"), NotFoundError)
    assert ok("delete", "search/quick", "--ignore-not-found") == ""
    assert ok("delete", "ds", "-l", "team=birds", "-o", "name") == "dataset/coast\n"
    assert ok("delete", "-f", "-", "--ignore-not-found", stdin=text) == 'model "coast" deleted\n'


def test_delete_of_a_whole_kind_must_be_meant(run: Run, ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=f"{DATASET}---\n{MODEL}")
    result = run("delete", "all")
    assert result.exit_code == 2
    assert "--all" in result.stderr
    assert ok("delete", "all", "--all").count("deleted") == 2


# ---------------------------------------------------------------- wait


def test_wait_ends_when_the_condition_is_about_the_newest_spec(
    run: Run, ok: Ok, catalog_place: Platform
) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    done = mark_done({}, Why("Finished", "Done.", 1, NOON))
    catalog_place.catalog.update_status("Search", "quick", done)
    words = ("wait", "search/quick", "--for=condition=complete", "--timeout=0")
    assert ok(*words) == "search/quick condition met\n"
    ok("apply", "-f", "-", stdin=SEARCH.replace("coast}", "coast}, seed: 1"))
    assert "timed out" in failed(run(*words), StrandlineError)


def test_wait_for_success_ends_early_when_it_cannot_come(
    run: Run, ok: Ok, catalog_place: Platform
) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    status = mark_failed({}, Why("UnusableData", "No images.", 1, NOON))
    catalog_place.catalog.update_status("Search", "quick", status)
    said = failed(run("wait", "search/quick", "--for=condition=Complete"), FailedRunError)
    assert said == "search/quick failed: UnusableData: No images."
    assert ok("wait", "search/quick", "--for=condition=Failed", "--timeout=0")
    assert ok("wait", "search/quick", "--for=condition=Ready=False", "--timeout=0")


def test_wait_for_values_and_deletion(
    run: Run, ok: Ok, monkeypatch: pytest.MonkeyPatch, catalog_place: Platform
) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    words = ("wait", "srch", "quick", "--timeout=0")
    assert ok(*words, "--for=jsonpath={.spec.seed}=0")
    assert ok(*words, "--for=jsonpath='{.spec.suspend}'=false")
    assert ok(*words, "--for=jsonpath={.metadata.labels.team}")
    assert "timed out" in failed(run(*words, "--for=jsonpath={.spec.seed}=9"), StrandlineError)

    def nap(seconds: float) -> None:
        catalog_place.catalog.delete_resource("Search", "quick")

    monkeypatch.setattr("strandline.cli.place.time.sleep", nap)
    assert ok("wait", "search/quick", "--for=delete") == "search/quick deleted\n"
    assert ok("wait", "search/quick", "--for=delete") == "search/quick deleted\n"
    result = run("wait", "search/quick", "--for=condition=Complete")
    assert "not found" in failed(result, NotFoundError)


def test_wait_for_many_takes_a_selector(run: Run, ok: Ok) -> None:
    ok("apply", "-f", "-", stdin=f"{DATASET}---\n{SEARCH}")
    met = ok("wait", "all", "-l", "team=birds", "--for=jsonpath={.kind}", "--timeout=0")
    assert met == "dataset/coast condition met\nsearch/quick condition met\n"
    assert run("wait", "searches", "--for=delete").exit_code == 2


# ---------------------------------------------------------------- logs


def write_log(place: Platform, text: bytes) -> Path:
    uid = place.catalog.get_resource("Search", "quick").uid
    log = log_path(place.settings.runs_dir, "Search", uid)
    log.parent.mkdir(parents=True)
    log.write_bytes(text)
    return log


def test_logs_prints_all_or_the_tail(run: Run, ok: Ok, catalog_place: Platform) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    assert "no log yet" in run("logs", "search/quick").stderr
    log = write_log(catalog_place, b"one\ntwo\nthr\x1b[31mee\n")
    assert ok("logs", "search/quick") == "one\ntwo\nthr\\x1b[31mee\n"
    assert ok("logs", "quick", "--tail", "2") == "two\nthr\\x1b[31mee\n"
    assert ok("logs", "quick", "--tail", "0") == ""
    assert ok("logs", "quick", "--tail", "9").startswith("one")
    log.write_bytes(b"long " * 40_000 + b"\nlast")
    assert ok("logs", "quick", "--tail", "1") == "last"
    log.replace(log.with_name("log.1.txt"))
    assert ok("logs", "quick", "-p", "--tail", "1") == "last"


def test_logs_follow_until_the_job_is_over(
    ok: Ok, catalog_place: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    catalog = catalog_place.catalog
    log = write_log(catalog_place, "gull \U0001f426"[:5].encode() + "\U0001f426".encode()[:2])
    naps = iter(range(9))

    def nap(seconds: float) -> None:
        if next(naps) == 0:
            with log.open("ab") as out:
                out.write("\U0001f426".encode()[2:] + b"\nend\n")
            status = mark_done({}, Why("Finished", "Done.", 1, NOON))
            catalog.update_status("Search", "quick", status)

    monkeypatch.setattr("strandline.cli.place.time.sleep", nap)
    assert ok("logs", "-f", "search/quick") == "gull \U0001f426\nend\n"


def test_a_running_job_of_a_deleted_object_is_waited_for(
    run: Run, ok: Ok, catalog_place: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ok("apply", "-f", "-", stdin=SEARCH)
    uid = catalog_place.catalog.get_resource("Search", "quick").uid
    claim = claim_run(catalog_place.settings.runs_dir, "Search", "quick", uid)
    claim.__enter__()

    def nap(seconds: float) -> None:
        claim.__exit__(None, None, None)

    monkeypatch.setattr("strandline.cli.place.time.sleep", nap)
    assert ok("delete", "search", "quick") == 'search "quick" deleted\n'


def test_api_resources_lists_the_kinds(ok: Ok) -> None:
    lines = [line.split()[:4] for line in ok("api-resources").splitlines()]
    assert lines[0] == ["NAME", "SHORTNAMES", "NAMESPACED", "KIND"]
    assert ["searches", "srch", "true", "Search"] in lines
    assert ["computepools", "pool,pools", "false", "ComputePool"] in lines


def test_ages_are_short() -> None:
    from strandline.cli.resource_output import age

    spans = [5, 119, 192, 3600, 7300, 90_000, 86400 * 12, 86400 * 800]
    shown = [age(NOON - timedelta(seconds=span), NOON) for span in spans]
    assert shown == ["5s", "119s", "3m12s", "60m", "2h1m", "25h", "12d", "2y70d"]
    assert age(NOON + timedelta(seconds=9), NOON) == "0s"


# ---------------------------------------------------------------- kinds without a job

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"


def test_samples_of_every_kind_can_be_applied_listed_and_described(ok: Ok) -> None:
    said = ok("apply", "-f", str(SAMPLES))
    assert "created" in said
    for model in KINDS.values():
        words = (model.names.plural, model.names.singular, *model.names.short)
        names = {ok("get", word, "-o", "name") for word in words}
        assert len(names) == 1, model.names
        first = names.pop().splitlines()[0]
        assert f"Kind:         {model.__name__}" in ok("describe", first)
        wide = ok("get", model.names.plural, "-o", "wide").splitlines()
        assert wide[0].split() == [
            "NAME",
            *(column.name.upper() for column in model.names.columns),
        ]


@pytest.mark.parametrize("kind", ["labelingjobs", "endpoints", "batchpredictions"])
def test_what_is_not_served_yet_says_so_and_nobody_waits_for_it(
    ok: Ok, run: Run, kind: str
) -> None:
    ok("apply", "-f", str(SAMPLES))
    (line,) = ok("get", kind, "--no-headers").splitlines()
    assert line.split()[1:3] == ["False", "NotYetServed"]
    name = ok("get", kind, "-o", "name").strip()
    assert "Planned is" in ok("describe", name)
    result = run("wait", name, "--for=condition=Ready", "--timeout=1m")
    assert "is stalled: NotYetServed" in failed(result, FailedRunError)
    assert "logs are of one job" in failed(run("logs", name), InvalidSpecError)


def test_pools_belong_to_no_namespace_and_say_that_this_machine_runs_everything(ok: Ok) -> None:
    text = HEAD + "kind: ComputePool\nmetadata: {name: l4, namespace: other}\n"
    text += "spec: {accelerator: {kind: gpu}, spot: true, pricePerHour: 0.71}\n"
    assert ok("apply", "-f", "-", stdin=text) == "computepool/l4 created\n"
    assert ok("get", "pool", "l4").splitlines()[1].split()[:5] == [
        *("l4", "True", "LocalMachine", "gpu", "true")
    ]
    printed = yaml.safe_load(ok("get", "pool/l4", "-o", "yaml"))
    assert "namespace" not in printed["metadata"]
    assert "unchanged" in ok("apply", "-f", "-", stdin=yaml.safe_dump(printed))


def test_a_namespace_is_remarked_on_for_kinds_that_have_one(run: Run) -> None:
    text = HEAD + "kind: {}\nmetadata: {{name: a, namespace: other}}\n"
    assert "one namespace only" in run("apply", "-f", "-", stdin=text.format("Model")).stderr
    assert run("apply", "-f", "-", stdin=text.format("ComputePool")).stderr == ""


def test_paths_of_a_batch_prediction_start_at_the_folder_of_its_document(
    ok: Ok, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.yaml").write_text(
        HEAD + "kind: BatchPrediction\nmetadata: {name: a}\n"
        "spec: {model: {name: m}, source: {uri: images}, output: {uri: answers}}\n"
    )
    ok("apply", "-f", "sub/a.yaml")
    spec = json.loads(ok("get", "bp", "a", "-o", "json"))["spec"]
    assert spec["source"]["uri"] == str(tmp_path / "sub" / "images")
    assert spec["output"]["uri"] == str(tmp_path / "sub" / "answers")
