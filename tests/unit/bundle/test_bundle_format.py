"""A bundle is whole and honest, or it is refused with the reason."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from strandline.bundle import archive
from strandline.bundle.archive import read_archive, write_archive
from strandline.bundle.contents import Manifest, describe_environment
from strandline.bundle.format import Bundle, open_bundle, write_bundle
from strandline.bundle.graph_check import check_graph
from strandline.bundle.runtime import Predictor
from strandline.spec.errors import CorruptArtifactError, InvalidSpecError, NotFoundError
from strandline.spec.records import Task, canonical_json, digest_of
from strandline.testing.bundles import LABELS, make_bundle, make_contents, make_graph, make_pixels


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "coast.bundle").read_bytes()


def members_of(whole: bytes) -> dict[str, bytes]:
    return {name: bytes(content) for name, content in read_archive(whole).items()}


def joined(members: Mapping[str, bytes]) -> bytes:
    return b"".join(bytes(piece) for piece in write_archive(members))


def sealed(body: bytes) -> bytes:
    """Give changed bytes a digest that fits, as somebody with intent would."""
    return body[:-64] + hashlib.sha256(body[:-64]).hexdigest().encode()


def forged(
    whole: bytes,
    changed: Mapping[str, bytes | None] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> bytes:
    """Exchange members (None removes) and make the manifest agree with them."""
    members = members_of(whole)
    listing = json.loads(members.pop("manifest.json"))
    for name, content in (changed or {}).items():
        if content is None:
            del members[name], listing["members"][name]
        else:
            members[name] = content
            listing["members"][name] = {"size": len(content), "digest": digest_of(content)}
    listing |= manifest or {}
    return joined({"manifest.json": canonical_json(listing), **members})


def refusal(data: bytes) -> str:
    with pytest.raises(CorruptArtifactError) as caught:
        Predictor(data)
    return str(caught.value)


# ---------------------------------------------------------------- what is inside


def test_what_was_written_is_what_is_read(whole: bytes) -> None:
    contents = make_contents()
    bundle = open_bundle(whole)
    assert bundle.digest == digest_of(whole)
    assert bytes(bundle.graph) == contents.graph
    assert bundle.card == contents.card
    assert bundle.scorecard == contents.scorecard
    assert bundle.receipt == contents.receipt
    assert bundle.manifest.labels == LABELS
    assert bundle.manifest.abstention == contents.abstention
    images, scores = bundle.golden()
    assert all(np.array_equal(a, b) for a, b in zip(images, contents.golden, strict=True))
    assert scores.shape == (3, 3)


def test_equal_contents_make_equal_bytes(tmp_path: Path) -> None:
    paths = [make_bundle(tmp_path / name) for name in ("a", "b")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_any_zip_tool_opens_it(whole: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        assert file.testzip() is None
        assert {"manifest.json", "model.onnx", "card.md", "golden/000.png"} <= set(file.namelist())
        assert json.loads(file.read("manifest.json"))["format_version"] == 1


def test_large_golden_images_are_shrunk(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b", golden=[make_pixels(0, 900, 2000)])
    assert open_bundle(path).golden()[0][0].shape == (230, 512, 3)


def test_the_environment_names_versions_and_no_machine() -> None:
    found = describe_environment()
    assert {"python", "numpy", "onnxruntime"} <= set(found)
    assert "node" not in found


# ---------------------------------------------------------------- damage


def test_every_flipped_byte_is_refused_with_the_reason(whole: bytes) -> None:
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises(CorruptArtifactError, match=r"damaged|not a Strandline bundle"):
            open_bundle(bytes(damaged))


def test_every_flipped_byte_is_refused_even_when_the_seal_is_made_to_fit(whole: bytes) -> None:
    for place in range(len(whole) - 64):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(CorruptArtifactError):
            open_bundle(sealed(bytes(changed)))


@pytest.mark.parametrize("keep", [0, 1, 100, -65, -64, -1])
def test_a_cut_bundle_is_refused(whole: bytes, keep: int) -> None:
    with pytest.raises(CorruptArtifactError, match=r"end is missing|not a Strandline bundle"):
        open_bundle(whole[:keep])


def test_bytes_before_between_or_behind_are_refused(whole: bytes) -> None:
    for body in (b"x" + whole, whole + b"x", whole + whole):
        with pytest.raises(CorruptArtifactError):
            open_bundle(body)
    middle = whole.index(b"PK\x01\x02")
    with pytest.raises(CorruptArtifactError, match="no part of its format"):
        open_bundle(sealed(whole[:middle] + b"hidden" + whole[middle:]))


def test_other_files_are_called_what_they_are(tmp_path: Path) -> None:
    for body in (b"", b"hello", b"\x89PNG" + bytes(1000)):
        with pytest.raises(CorruptArtifactError, match="not a Strandline bundle"):
            open_bundle(body)
    with pytest.raises(NotFoundError, match="no bundle file"):
        open_bundle(tmp_path / "absent")
    with pytest.raises(NotFoundError):
        open_bundle(tmp_path)


# ---------------------------------------------------------------- intent


def test_a_newer_format_is_refused_by_its_number(
    whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = members_of(whole)
    monkeypatch.setattr(archive, "FORMAT_VERSION", 2)
    newer = joined(members)
    monkeypatch.undo()
    with pytest.raises(CorruptArtifactError, match=r"format version 2.*update Strandline"):
        open_bundle(newer)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../b", "..", "a\\b", "UPPER", "a/b/c", "", "a\x00b"]
)
def test_names_that_lead_elsewhere_are_refused(whole: bytes, name: str) -> None:
    members = {**members_of(whole), name: b"x"}
    with pytest.raises(CorruptArtifactError, match="does not allow"):
        open_bundle(joined(members))


def test_members_that_the_manifest_does_not_name_are_refused(whole: bytes) -> None:
    with pytest.raises(CorruptArtifactError, match="manifest names others"):
        open_bundle(joined({**members_of(whole), "extra.txt": b"x"}))


def test_members_beyond_the_format_are_refused_even_when_named(whole: bytes) -> None:
    assert "does not name the members" in refusal(forged(whole, {"extra.txt": b"x"}))
    assert "does not name the members" in refusal(forged(whole, {"card.md": None}))


def test_a_member_with_other_contents_is_refused(whole: bytes) -> None:
    members = {**members_of(whole), "card.md": b"# other"}
    assert "card.md does not match" in refusal(joined(members))


def test_too_many_members_are_refused(whole: bytes) -> None:
    many = {**members_of(whole), **{f"m{n}": b"" for n in range(100)}}
    assert "more members" in refusal(joined(many))


def test_a_manifest_that_breaks_its_schema_is_refused(whole: bytes) -> None:
    assert "breaks its schema at tolerance" in refusal(forged(whole, manifest={"tolerance": 5}))
    assert "breaks its schema at surprise" in refusal(forged(whole, manifest={"surprise": 1}))
    members = {**members_of(whole), "manifest.json": b"[" * 100_000}
    assert "breaks its schema" in refusal(joined(members))
    assert "twice" in refusal(forged(whole, manifest={"labels": ["a", "a", "b"]}))
    assert "operator set" in refusal(forged(whole, manifest={"opset": 17}))


def test_golden_scores_that_do_not_come_again_are_refused(whole: bytes) -> None:
    scores = json.loads(bytes(read_archive(whole)["golden/scores.json"]))
    scores[1][0] += 0.002
    assert "score differently here" in refusal(
        forged(whole, {"golden/scores.json": canonical_json(scores)})
    )
    for broken in (b"[[1,2]]", b"{}", b"nonsense", b'[["a"]]', b"[[NaN,0,0],[0,0,0],[0,0,0]]"):
        assert "golden" in refusal(forged(whole, {"golden/scores.json": broken}))
    assert "golden" in refusal(forged(whole, {"golden/000.png": b"no picture"}))


def test_another_graph_is_refused_by_its_scores(whole: bytes) -> None:
    other = make_graph(seed=1).SerializeToString()
    assert "score differently here" in refusal(forged(whole, {"model.onnx": other}))


# ---------------------------------------------------------------- graphs


def with_node(node: Any, **opsets: int) -> bytes:
    model = make_graph()
    model.graph.node.append(node)
    model.opset_import.extend(helper.make_opsetid(name, n) for name, n in opsets.items())
    return bytes(model.SerializeToString())


def external(model: ModelProto) -> bytes:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return bytes(model.SerializeToString())


def test_graphs_with_foreign_operators_are_refused() -> None:
    node = helper.make_node("ReadFile", ["images"], ["x"], domain="com.evil")
    with pytest.raises(CorruptArtifactError, match=r"not standard.*com.evil.*ReadFile"):
        check_graph(with_node(node))
    with pytest.raises(CorruptArtifactError, match="not standard"):
        check_graph(with_node(helper.make_node("Identity", ["images"], ["x"]), other=1))


def test_foreign_operators_in_a_branch_are_refused() -> None:
    inner = helper.make_graph(
        [helper.make_node("ReadFile", [], ["y"], domain="com.evil")],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner)
    with pytest.raises(CorruptArtifactError, match="not standard"):
        check_graph(with_node(node))


def test_graphs_that_read_other_files_are_refused() -> None:
    with pytest.raises(CorruptArtifactError, match="external data"):
        check_graph(external(make_graph()))
    constant = helper.make_node(
        "Constant", [], ["x"], value=TensorProto(data_location=TensorProto.EXTERNAL)
    )
    with pytest.raises(CorruptArtifactError, match="external data"):
        check_graph(with_node(constant))


def test_graphs_with_functions_of_their_own_are_refused() -> None:
    model = make_graph()
    model.functions.append(
        helper.make_function("own", "f", ["x"], ["y"], [], [helper.make_opsetid("", 18)])
    )
    with pytest.raises(CorruptArtifactError, match="function"):
        check_graph(model.SerializeToString())


@pytest.mark.parametrize(
    "body", [b"", b"hello world", b"\x3a\xff\xff\xff\xff\x0f", b"\xff" * 20, b"\x3a\x05ab"]
)
def test_what_is_no_graph_is_refused(body: bytes) -> None:
    with pytest.raises(CorruptArtifactError, match="ONNX model"):
        check_graph(body)


def test_deeply_nested_graphs_are_refused() -> None:
    def wrapped(tag: int, body: bytes) -> bytes:
        length, size = len(body), b""
        while length > 0x7F:
            size += bytes([length & 0x7F | 0x80])
            length >>= 7
        return bytes([tag << 3 | 2]) + size + bytes([length]) + body

    body = b""
    for _ in range(30):
        body = wrapped(1, wrapped(5, wrapped(6, body)))
    with pytest.raises(CorruptArtifactError, match="deeper"):
        check_graph(wrapped(7, body))


def test_a_graph_with_another_contract_is_refused(tmp_path: Path) -> None:
    renamed = make_graph()
    renamed.graph.output[0].name = "logits"
    with pytest.raises(CorruptArtifactError, match=r"maps .* to .*logits"):
        make_bundle(tmp_path / "b", graph=renamed.SerializeToString())
    with pytest.raises(CorruptArtifactError, match="finite scores"):
        make_bundle(tmp_path / "b", graph=make_graph(labels=4).SerializeToString())
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- writing


def test_contents_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="golden"):
        make_bundle(tmp_path / "b", golden=[])
    contents = make_contents()
    other = make_contents(labels=("a", "b", "c")).scorecard
    with pytest.raises(InvalidSpecError, match="other labels"):
        make_bundle(tmp_path / "b", scorecard=other, labels=contents.labels)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_former_bundle(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b")
    before = path.read_bytes()
    with pytest.raises(CorruptArtifactError):
        make_bundle(path, graph=b"rubbish")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "b", make_contents(Task.MULTILABEL))
    bundle: Bundle = open_bundle(tmp_path / "b")
    assert digest == bundle.digest == digest_of((tmp_path / "b").read_bytes())
    assert isinstance(bundle.manifest, Manifest)
