"""What an import has already done, so that a killed one goes on instead of anew.

One JSON line an image, appended after the image is safe in the store and flushed to the
disk in batches; a line cut off by a crash is ignored. Lines are keyed by the content's
identity (path, size and times of change; archive entry and checksum; S3 version), so an
image that changed since is decoded again.
"""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import Any

from strandline.data.decode_worker import Decoded, Undecodable

# Grows when decoding, trimming or fingerprints change: old lines then count for nothing.
_FORMAT = 1
_BATCH_LINES = 256
_BATCH_SECONDS = 1.0


class ImportJournal:
    """The journal in `folder`; use as a context manager. One process at a time.

    Args:
        limits: text that names the limits in force; other limits, another journal.
    """

    def __init__(self, folder: Path, limits: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "journal.jsonl"
        self._header = {"format": _FORMAT, "limits": limits}
        self._known = self._load()
        self._file = self._open()
        self._unflushed = 0
        self._flushed_at = time.monotonic()

    def __enter__(self) -> ImportJournal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()
        self._file.close()

    def lookup(self, identity: str) -> tuple[str, Decoded] | Undecodable | None:
        """Return (image digest, what was found), or the refusal, or None: not done yet."""
        line = self._known.get(identity)
        try:
            return None if line is None else _outcome(line)
        except (KeyError, TypeError, ValueError):
            return None  # a damaged line: done again

    def record(self, identity: str, image: str, found: Decoded) -> None:
        """Note an image that is safe in the store."""
        self._append(
            {
                "id": identity,
                "image": image,
                "width": found.width,
                "height": found.height,
                "media_type": found.media_type,
                "notes": found.notes,
                "fingerprint": base64.b64encode(found.fingerprint).decode(),
            }
        )

    def record_refusal(self, identity: str, refused: Undecodable) -> None:
        """Note an image that is refused for good, so that it is not tried again."""
        self._append({"id": identity, "reason": refused.reason, "code": refused.code})

    def flush(self) -> None:
        """Put on the disk what was noted."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unflushed = 0
        self._flushed_at = time.monotonic()

    def _append(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._known[line["id"]] = line
        self._unflushed += 1
        late = time.monotonic() - self._flushed_at > _BATCH_SECONDS
        if self._unflushed >= _BATCH_LINES or late:
            self.flush()

    def _load(self) -> dict[str, dict[str, Any]]:
        known: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            return known
        with self._path.open(encoding="utf-8", errors="replace") as file:
            if _parse(file.readline()) != self._header:
                return known
            for text in file:
                line = _parse(text)
                if line is not None and "id" in line:
                    known[line["id"]] = line
        return known

    def _open(self) -> Any:
        if self._known:
            file = self._path.open("a+", encoding="utf-8")
            # A line cut off by a crash must not swallow the next one.
            file.write("\n")
            return file
        file = self._path.open("w", encoding="utf-8")
        file.write(json.dumps(self._header) + "\n")
        return file


def _outcome(line: dict[str, Any]) -> tuple[str, Decoded] | Undecodable:
    if "reason" in line:
        return Undecodable(str(line["reason"]), str(line["code"]))
    found = Decoded(
        width=line["width"],
        height=line["height"],
        media_type=line["media_type"],
        notes=tuple(line["notes"]),
        fingerprint=base64.b64decode(line["fingerprint"]),
    )
    return str(line["image"]), found


def _parse(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None
