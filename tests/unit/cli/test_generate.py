"""What is generated on disk is what the kinds say now."""

from __future__ import annotations

from pathlib import Path

import yaml
from click.testing import CliRunner

from strandline.cli.generate import chart_copy, differences, generate, outputs
from strandline.spec.errors import OUTCOMES
from strandline.spec.v1alpha1 import KINDS

REPOSITORY = Path(__file__).parents[3]


def test_the_generated_files_are_up_to_date() -> None:
    assert differences(REPOSITORY) == [], "run `make generate`"


def test_check_shows_the_difference_and_fails(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(generate, ["--root", str(tmp_path)]).output.count("wrote ") == len(list(outputs()))
    assert run(generate, ["--check", "--root", str(tmp_path)]).exit_code == 0
    page = tmp_path / "docs" / "reference" / "kinds.md"
    page.write_text(page.read_text().replace("# Kinds", "# Sorts"))
    result = run(generate, ["--check", "--root", str(tmp_path)])
    assert result.exit_code == 1
    assert "-# Sorts\n+# Kinds\n" in result.stdout
    assert "make generate" in result.stderr
    assert run(generate, ["--root", str(tmp_path)]).output == "wrote docs/reference/kinds.md\n"


def test_generated_yaml_reads_back_and_links_nothing() -> None:
    for path, text in outputs():
        if path.suffix == ".yaml" and path.parts[0] == "manifests":
            assert yaml.safe_load(text)["kind"] == "CustomResourceDefinition"
            assert "&id" not in text


def test_the_chart_holds_the_same_crds_to_be_installed_and_kept_on_request() -> None:
    files = {path: text for path, text in outputs() if path.suffix == ".yaml"}
    plain = {path.name: text for path, text in files.items() if path.parts[0] == "manifests"}
    copies = {path.name: text for path, text in files.items() if path.parts[0] == "helm"}
    assert set(copies) == set(plain)
    for name, text in copies.items():
        lines = text.splitlines()
        assert lines[1] == "{{- if .Values.crds.install }}"
        assert lines[-1] == "{{- end }}"
        kept = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n"
        assert kept + "  {{- end }}\n" in text
        inside = [line for line in lines if not line.lstrip().startswith("{{-")]
        document = yaml.safe_load("\n".join(inside))
        assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert document == yaml.safe_load(plain[name])


def test_what_helm_would_take_for_its_own_is_escaped() -> None:
    document = {"metadata": {"name": "a"}, "description": "write {{ so }}"}
    assert 'description: write {{ "{{" }} so }}' in chart_copy(document)


def test_pages_name_every_field_and_every_error() -> None:
    pages = {path.name: text for path, text in outputs()}
    for cls in OUTCOMES:
        assert f"`{cls.__name__}`" in pages["errors.md"]
    for model in KINDS.values():
        for field in model.model_fields["spec"].annotation.model_fields.values():  # type: ignore[union-attr]  # a model
            assert f"`spec.{field.alias}`" in pages["kinds.md"]


def test_table_cells_do_not_break_the_table() -> None:
    import re

    pages = {path.name: text for path, text in outputs()}
    for page, columns in (("kinds.md", 4), ("errors.md", 6)):
        for line in pages[page].splitlines():
            if line.startswith("| "):
                assert len(re.findall(r"(?<!\\)\|", line)) == columns + 1, line
