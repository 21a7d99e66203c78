"""What the apiserver's refusals mean: its Status documents become errors of ours."""

from __future__ import annotations

import json
from typing import Any

from strandline.spec.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidSpecError,
    NotFoundError,
    PermissionDeniedError,
    StrandlineError,
    UnavailableError,
)

_BY_CODE: dict[int, type[StrandlineError]] = {
    401: PermissionDeniedError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    412: ConflictError,
}


class ExpiredError(ConflictError):
    """A resource version or a list's continuation is too old: list anew (HTTP 410)."""


class TerminatingNamespaceError(PermissionDeniedError):
    """Nothing can be made in a namespace that is being deleted: no failure, its end."""


def status_of(body: bytes) -> dict[str, Any]:
    """Return the Status document of a refusal; one made of the text when there is none."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status":
        return document
    return {"message": body[:500].decode("utf-8", "replace").strip()}


def error_of(code: int, status: dict[str, Any], what: str) -> StrandlineError:
    """Return the error that the refusal of `what` with HTTP status `code` is."""
    reason = status.get("reason") or ""
    message = f"{what}: {status.get('message') or reason or 'no reason given'} (HTTP {code})"
    if code == 410 or reason in ("Expired", "Gone"):
        return ExpiredError(message)
    if reason == "AlreadyExists":
        return AlreadyExistsError(message)
    if code == 403 and "NamespaceTerminating" in _causes(status):
        return TerminatingNamespaceError(message)
    if code in _BY_CODE:
        return _BY_CODE[code](message)
    if code in (408, 429) or code >= 500:
        return UnavailableError(message)
    return InvalidSpecError(message)


def _causes(status: dict[str, Any]) -> set[str]:
    causes = (status.get("details") or {}).get("causes") or ()
    return {str(cause.get("reason")) for cause in causes}
