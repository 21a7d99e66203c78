"""Constraints of a space: comparisons that a candidate must hold, written as text.

The grammar is a small part of Python's expressions: names of parameters, numbers, texts,
`true`/`false`, `+ - * / // % **`, comparisons (also chained), `and`, `or`, `not`, `in`
with a list, and `min`, `max`, `abs`, `log`. Nothing else parses, so a text from outside
can compute but not act.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from strandline.search.parameters import Candidate
from strandline.spec.errors import InvalidSpecError

_BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, exponent: math.pow(base, exponent),  # never a number of a million digits
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_CALLS: Mapping[str, Callable[..., Any]] = {"min": min, "max": max, "abs": abs, "log": math.log}
_CONSTANTS = {"true": True, "false": False, "True": True, "False": False}


Evaluate = Callable[[Candidate], Any]


@dataclass(frozen=True, slots=True)
class Constraint:
    """One comparison; holds of itself when it names a parameter that is absent.

    Raises:
        InvalidSpecError: (from the constructor) the text is not of the grammar.
    """

    text: str
    names: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names, _ = _read(self.text)
        object.__setattr__(self, "names", names)

    def holds(self, candidate: Candidate) -> bool:
        """Return whether the candidate holds it.

        Raises:
            InvalidSpecError: it compares what cannot be compared, such as text to a number.
        """
        names, evaluate = _read(self.text)
        if not names <= candidate.keys():
            return True
        try:
            return bool(evaluate(candidate))
        except ZeroDivisionError:
            return False
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidSpecError(f"constraint {self.text!r}: {error}") from error


# Texts, not trees, are what travels to workers and is compared; each is read once a process.
@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[frozenset[str], Evaluate]:
    names: set[str] = set()
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        evaluate = _compile(tree, names)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise InvalidSpecError(
            f"constraint {text!r}: {reason}; write a comparison such as `a + b <= 10`"
        ) from error
    if not isinstance(tree, ast.Compare | ast.BoolOp | ast.UnaryOp):
        raise InvalidSpecError(f"constraint {text!r} compares nothing: write e.g. `a + b <= 10`")
    return frozenset(names), evaluate


def _compile(node: ast.expr, names: set[str]) -> Evaluate:
    """Return what evaluates the expression, adding the parameters it names.

    Raises:
        ValueError: it is not of the grammar.
    """
    compiler = _COMPILERS.get(type(node))
    if compiler is None:
        raise ValueError(f"{ast.unparse(node)} is not allowed here")
    return compiler(node, names)


def _constant(node: ast.Constant, names: set[str]) -> Evaluate:
    value = node.value
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{value!r} is not allowed here")
    return lambda candidate: value


def _name(node: ast.Name | ast.Attribute, names: set[str]) -> Evaluate:
    name = ast.unparse(node)
    if name in _CONSTANTS:
        value = _CONSTANTS[name]
        return lambda candidate: value
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{name} is not allowed here")
    names.add(name)
    return lambda candidate: candidate[name]


def _list(node: ast.List | ast.Tuple, names: set[str]) -> Evaluate:
    parts = [_compile(each, names) for each in node.elts]
    return lambda candidate: [part(candidate) for part in parts]


def _logic(node: ast.BoolOp, names: set[str]) -> Evaluate:
    parts = [_compile(each, names) for each in node.values]
    ask = all if isinstance(node.op, ast.And) else any
    return lambda candidate: ask(part(candidate) for part in parts)


def _binary(node: ast.BinOp, names: set[str]) -> Evaluate:
    act = _pick(_BINARY, node.op)
    left, right = _compile(node.left, names), _compile(node.right, names)
    return lambda candidate: act(left(candidate), right(candidate))


def _unary(node: ast.UnaryOp, names: set[str]) -> Evaluate:
    act, part = _pick(_UNARY, node.op), _compile(node.operand, names)
    return lambda candidate: act(part(candidate))


def _call(node: ast.Call, names: set[str]) -> Evaluate:
    function = _CALLS.get(node.func.id) if isinstance(node.func, ast.Name) else None
    if function is None or node.keywords or not node.args:
        raise ValueError(f"{ast.unparse(node)} is not allowed here")
    parts = [_compile(each, names) for each in node.args]
    return lambda candidate: function(*(part(candidate) for part in parts))


def _compare(node: ast.Compare, names: set[str]) -> Evaluate:
    acts = [_pick(_COMPARE, op) for op in node.ops]
    parts = [_compile(each, names) for each in (node.left, *node.comparators)]

    def evaluate(candidate: Candidate) -> bool:
        values = [part(candidate) for part in parts]
        pairs = zip(values, acts, values[1:], strict=False)
        return all(act(one, other) for one, act, other in pairs)

    return evaluate


def _pick(allowed: Mapping[Any, Callable[..., Any]], operation: ast.AST) -> Callable[..., Any]:
    if type(operation) not in allowed:
        raise ValueError(f"the operator {type(operation).__name__} is not allowed here")
    return allowed[type(operation)]


_COMPILERS: Mapping[type[ast.expr], Callable[[Any, set[str]], Evaluate]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _name,
    ast.List: _list,
    ast.Tuple: _list,
    ast.BoolOp: _logic,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.Call: _call,
    ast.Compare: _compare,
}
