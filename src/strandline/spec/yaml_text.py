"""Read YAML text as plain data that JSON could hold, refusing what could harm or mislead.

Documents come from anywhere. A few hundred bytes of nested aliases unfold into gigabytes
("billion laughs"), nesting exhausts the stack, a repeated key hides the first value. Each
is refused before anything is built. Scalars resolve as Kubernetes tools read them:
`1e-4` is a number and `2026-01-31` is text, which PyYAML alone would turn around.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from strandline.spec.errors import InvalidSpecError

MAX_BYTES = 1024 * 1024
MAX_NODES = 50_000
MAX_DEPTH = 64

Path = Sequence[str | int]


class _Loader(yaml.SafeLoader):
    """Safe types only, resolved the way an apiserver reads them, of bounded depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "it is nested too deeply", mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+)(?:\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


class YamlDocument:
    """One document of a text: its data, and the line of any of its fields."""

    def __init__(self, data: Any, root: yaml.Node) -> None:
        self.data = data
        self._root = root

    def line_of(self, path: Path) -> int:
        """Return the line (from 1) of the field at `path`, or of the nearest one above."""
        node, line = self._root, int(self._root.start_mark.line) + 1
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            node, line = found
        return line


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value, int(key.start_mark.line) + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        value = node.value[step]
        return value, int(value.start_mark.line) + 1
    return None


def read_yaml(text: str | bytes, source: str) -> Iterator[YamlDocument]:
    """Yield the documents of `text`; empty ones are left out.

    Raises:
        InvalidSpecError: it is too large, is no YAML, repeats a key, or unfolds to more
            than `MAX_NODES` values. The message names `source` and the line.
    """
    decoded = _decode(text, source)
    try:
        yield from _read_json(decoded, source) or _read(decoded, source)
    except yaml.MarkedYAMLError as error:
        raise InvalidSpecError(_explain(error, source)) from None
    except yaml.reader.ReaderError as error:
        raise InvalidSpecError(
            f"{source} holds the character #x{error.character:04x}, which YAML does not allow"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidSpecError(f"{source} is not YAML that can be read: {error}") from None


def _read(text: str, source: str) -> Iterator[YamlDocument]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            root = loader.get_node()
            assert root is not None
            _check_size(root, source)
            _check_keys(root, source)
            data = loader.construct_document(root)
            if data is not None:
                yield YamlDocument(data, root)
    finally:
        loader.dispose()


def _read_json(text: str, source: str) -> list[YamlDocument]:
    """Read `text` as JSON, nothing when it is none.

    JSON is YAML but for tabs between tokens and `\\ud83d\\ude00` escapes; the nodes of the
    YAML reader are kept for the line numbers.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return []
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (json.JSONDecodeError, RecursionError):
        return []
    # Valid JSON has tabs between tokens only: in strings they are escaped.
    return [YamlDocument(data, each._root) for each in _read(text.replace("\t", " "), source)]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON has")


def _decode(text: str | bytes, source: str) -> str:
    size = len(text)
    if size > MAX_BYTES:
        raise InvalidSpecError(
            f"{source} has {size:,} bytes, more than the {MAX_BYTES:,} that one file may have: "
            "split it"
        )
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidSpecError(f"{source} is not UTF-8 text: byte {error.start}") from None


def _explain(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
    return f"{where}: {error.problem or error.context}"


def _check_size(root: yaml.Node, source: str) -> None:
    """Count values with aliases unfolded, without unfolding them."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        known = sizes.get(id(node))
        if known == 0:
            raise InvalidSpecError(f"{source}, {_line(node)}: an alias holds itself")
        if known is not None:
            return known
        sizes[id(node)] = 0  # being counted
        total = 1 + sum(size(child) for child in _children(node))
        sizes[id(node)] = total
        return total

    if size(root) > MAX_NODES:
        raise InvalidSpecError(
            f"{source}, {_line(root)}: the document unfolds to more than {MAX_NODES:,} values"
        )


def _check_keys(root: yaml.Node, source: str) -> None:
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated_keys(node, source)
        for child in _children(node):
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)


def _refuse_repeated_keys(node: yaml.MappingNode, source: str) -> None:
    keys: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise InvalidSpecError(f"{source}, {_line(key)}: a field name must be text")
        if key.value in keys:
            raise InvalidSpecError(
                f"{source}, {_line(key)}: {key.value!r} stands twice in the same object: "
                "keep one of them"
            )
        keys.add(key.value)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
