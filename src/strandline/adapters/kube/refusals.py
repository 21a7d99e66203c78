"""What a refusal of the apiserver means to a person at a terminal, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from strandline.spec.errors import (
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    StrandlineError,
    UnavailableError,
)

# As `answers.error_of` writes it: the call, what the server said, and its code.
_TOLD = re.compile(r"(?P<call>.*?): (?P<said>.*) \(HTTP (?P<code>\d+)\)", re.DOTALL)
# What is said of a path that no kind answers to; of a kind's missing object more is said.
_NO_SUCH_PATH = "404 page not found"
_KIND_IN_PATH = re.compile(r"/apis/strandline\.dev/\w+/(?:namespaces/[^/]+/)?(?P<plural>\w+)")


@contextmanager
def explained(host: str, namespace: str) -> Iterator[None]:
    """Raise what goes wrong in the block as an error that says what to do.

    Raises:
        MissingExtraError: the cluster does not know our kinds.
        PermissionDeniedError, UnavailableError, …: of the class it had.
    """
    try:
        yield
    except StrandlineError as error:
        raise explain(error, host, namespace) from error


def explain(error: StrandlineError, host: str, namespace: str) -> StrandlineError:
    """Return the error in words for whoever ran the command."""
    match = _TOLD.fullmatch(str(error))
    if match is None:
        return _without_answer(error, host) if isinstance(error, UnavailableError) else error
    said, code = match["said"], int(match["code"])
    if isinstance(error, NotFoundError) and said == _NO_SUCH_PATH:
        return _unknown_kind(match["call"], host)
    if code == 401:
        return PermissionDeniedError(
            f"the cluster at {host} does not know who you are: sign in to it anew; "
            "`kubectl auth whoami` tells whether that worked"
        )
    if isinstance(error, PermissionDeniedError):
        return type(error)(
            f"{said}. Ask an administrator for the role `edit` (`view` to look on) in namespace "
            f"{namespace}; `kubectl auth can-i --list -n {namespace}` tells what you may do"
        )
    if isinstance(error, UnavailableError):
        return UnavailableError(f"the cluster at {host} cannot answer now: {said}; try again later")
    return type(error)(said)


def _without_answer(error: StrandlineError, host: str) -> StrandlineError:
    return UnavailableError(
        f"the cluster at {host} does not answer: {error}. Is it the one you mean "
        "(`kubectl config current-context`, --context), and is there a way to it?"
    )


def _unknown_kind(call: str, host: str) -> StrandlineError:
    match = _KIND_IN_PATH.search(call)
    kind = f"{match['plural']}.strandline.dev" if match else "kinds of strandline.dev"
    return MissingExtraError(
        f"the cluster at {host} knows no {kind}: its administrator installs them with the chart, "
        "or with `kubectl apply --server-side -k manifests/crds`"
    )
