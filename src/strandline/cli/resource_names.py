"""What a person means on the command line: kinds, names and label selectors.

Kinds answer to plural, singular and short names in any case, as they do to kubectl.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strandline.ports import Resource
from strandline.spec.errors import InvalidSpecError, NotFoundError, PermissionDeniedError
from strandline.spec.naming import Scope
from strandline.spec.v1alpha1 import KINDS

if TYPE_CHECKING:
    from strandline.cli.place import Place


@dataclass(frozen=True, slots=True)
class Target:
    """A kind, and the name of one object of it or None for all.

    Attributes:
        among_all: nobody named the kind: it is one of `all`.
    """

    kind: str
    name: str | None = None
    among_all: bool = False

    def __str__(self) -> str:
        return shown(self.kind, self.name or "")


def shown(kind: str, name: str) -> str:
    """Return `search/coast-quick`, the way objects are named in messages."""
    return f"{KINDS[kind].names.singular}/{name}"


def find_kind(word: str) -> str:
    """Return the kind that `word` means.

    Raises:
        InvalidSpecError: it means none.
    """
    for kind, model in KINDS.items():
        if model.names.answers_to(word):
            return kind
    words = [w for model in KINDS.values() for w in (model.names.plural, model.names.singular)]
    near = difflib.get_close_matches(word.casefold(), words, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(words[::2])}, all"
    raise InvalidSpecError(f"there is no kind {word!r}: {hint}")


def read_targets(words: Sequence[str]) -> list[Target]:
    """Read `KIND [NAME…]`, `KIND,KIND`, `all` or `KIND/NAME …`.

    Raises:
        InvalidSpecError: a kind is not known, or the forms are mixed.
    """
    if not words:
        raise InvalidSpecError("say what: a kind like searches, KIND/NAME, or all")
    if any("/" in word for word in words):
        return [_read_pair(word) for word in words]
    names: Sequence[str | None] = words[1:] or [None]
    if words[0].casefold() == "all":
        return [Target(kind, name, among_all=True) for kind in KINDS for name in names]
    kinds = map(find_kind, words[0].split(","))
    return [Target(kind, name) for kind in kinds for name in names]


def _read_pair(word: str) -> Target:
    kind, slash, name = word.partition("/")
    if not (slash and kind and name) or "/" in name:
        raise InvalidSpecError(f"{word!r} is not KIND/NAME: name every object in that form")
    return Target(find_kind(kind), name)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label: it is among `values`, or not; None: any value."""

    key: str
    values: frozenset[str] | None
    wanted: bool

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Return whether an object with these labels is meant."""
        if self.values is None:
            return (self.key in labels) == self.wanted
        return (labels.get(self.key) in self.values) == self.wanted


_KEY = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_TERM = re.compile(
    rf"""\s*(?:
        (?P<set_key>{_KEY})\s+(?P<set_op>in|notin)\s*\((?P<set>[^()]*)\)
      | (?P<key>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>[A-Za-z0-9._-]*)
      | (?P<absent>!?)\s*(?P<exists>{_KEY})
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def read_selector(text: str | None) -> list[Requirement]:
    """Read a label selector: `a=b,c!=d,e in (x,y),f notin (z),g,!h`.

    Raises:
        InvalidSpecError: it cannot be read.
    """
    requirements, place = [], 0
    while text and place < len(text):
        match = _TERM.match(text, place)
        if match is None:
            raise InvalidSpecError(
                f"the selector {text!r} cannot be read from {text[place:]!r} on: "
                "write it like team=birds,stage!=test"
            )
        requirements.append(_requirement(match))
        place = match.end()
    return requirements


def _requirement(match: re.Match[str]) -> Requirement:
    if match["set_key"]:
        values = frozenset(part.strip() for part in match["set"].split(","))
        return Requirement(match["set_key"], values, match["set_op"] == "in")
    if match["key"]:
        return Requirement(match["key"], frozenset((match["value"],)), match["op"] != "!=")
    return Requirement(match["exists"], None, not match["absent"])


def select(
    place: Place,
    kind: str,
    requirements: Sequence[Requirement] = (),
    after: str | None = None,
) -> Iterator[Resource]:
    """Iterate over the objects of a kind that meet all requirements, by name."""
    for resource in place.list_objects(kind, after):
        if all(each.accepts(resource.labels) for each in requirements):
            yield resource


def is_optional(target: Target) -> bool:
    """Return whether a kind is left out where one may not look at it: of `all`, those that
    belong to the cluster, which are no business of whoever works in one namespace."""
    return target.among_all and KINDS[target.kind].names.scope is Scope.CLUSTER


def resolve(
    place: Place, targets: Sequence[Target], requirements: Sequence[Requirement] = ()
) -> tuple[list[Resource], list[str]]:
    """Return the objects meant, and a message for each name that is not there."""
    found: list[Resource] = []
    missing: list[str] = []
    for target in targets:
        try:
            if target.name is None:
                found.extend(select(place, target.kind, requirements))
            else:
                found.append(place.get(target.kind, target.name))
        except PermissionDeniedError:
            if not is_optional(target):
                raise
        except NotFoundError:
            missing.append(f'{KINDS[target.kind].names.plural} "{target.name}" not found')
    return found, missing
