"""Look into an ONNX graph before a runtime loads it, without the `onnx` package.

A graph from outside may ask the runtime for foreign operators or to read files beside it
(external data). Both are refused here, by walking the protocol buffer's wire format:
nothing is built, every length is checked, and depth is bounded.

Field numbers: onnx.proto (ONNX 1.18). Wire format: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

from strandline.spec.errors import CorruptArtifactError

# Field number → message type of the fields that lead to operators or tensors.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "opset": {},
}
_STANDARD_DOMAINS = {b"", b"ai.onnx", b"ai.onnx.ml"}
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_NODE_OPERATOR, _NODE_DOMAIN = 4, 7
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_MAX_DEPTH = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_graph(graph: bytes | memoryview) -> int:
    """Check that a serialised ONNX model is self-contained and return its opset.

    Raises:
        CorruptArtifactError: it is no ONNX model, or uses foreign operators, functions of
            its own, training information or files beside it.
    """
    opsets: dict[bytes, int] = {}
    _walk(memoryview(graph), "model", 0, opsets)
    version = opsets.get(b"", opsets.get(b"ai.onnx", 0))
    if not version:
        raise CorruptArtifactError("the graph is not an ONNX model: it names no operator set")
    return version


def _walk(data: memoryview, kind: str, depth: int, opsets: dict[bytes, int]) -> None:
    if depth > _MAX_DEPTH:
        raise CorruptArtifactError(f"the graph is nested deeper than {_MAX_DEPTH} levels")
    children = _CHILDREN[kind]
    plain: dict[int, int | memoryview] = {}
    for number, value in _fields(data):
        if number not in children:
            if kind == "tensor" and number == _TENSOR_EXTERNAL:
                _refuse("keeps weights in other files (external data)")
            plain[number] = value
        elif not isinstance(value, memoryview):
            raise _malformed()
        elif children[number] in ("training", "function"):
            _refuse(f"carries a {children[number]} section")
        else:
            _walk(value, children[number], depth + 1, opsets)
    if kind == "tensor" and plain.get(_TENSOR_LOCATION, 0) != 0:
        _refuse("keeps weights in other files (external data)")
    if kind == "node":
        _check_domain(plain.get(_NODE_DOMAIN), plain.get(_NODE_OPERATOR))
    if kind == "opset":
        domain = _check_domain(plain.get(_OPSET_DOMAIN), None)
        version = plain.get(_OPSET_VERSION, 0)
        opsets[domain] = version if isinstance(version, int) else 0


def _check_domain(domain: int | memoryview | None, operator: int | memoryview | None) -> bytes:
    name = bytes(domain) if isinstance(domain, memoryview) else b""
    if name not in _STANDARD_DOMAINS:
        which = bytes(operator)[:60] if isinstance(operator, memoryview) else b""
        _refuse(f"uses operators that are not standard ({name[:60]!r} {which!r})")
    return name


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of one message: numbers as int, the rest as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == _BYTES:
            length, place = _varint(data, place)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _malformed()
        if length > len(data) - place:
            raise _malformed()
        yield number, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _malformed()


def _refuse(what: str) -> None:
    raise CorruptArtifactError(f"the graph {what}: a bundle must be self-contained; do not use it")


def _malformed() -> CorruptArtifactError:
    return CorruptArtifactError("the graph is not a well-formed ONNX model")
