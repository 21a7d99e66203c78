"""Which processes run on this machine, and who came of whom (Linux: /proc)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Running:
    """A process, as proc(5) tells of it.

    Attributes:
        began: in clock ticks since the machine started.
    """

    pid: int
    parent: int
    began: int
    zombie: bool


def running() -> Iterator[Running]:
    """Go through all processes there are; one that ends meanwhile is left out."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name before it is in brackets and may have any characters.
            words = (entry / "stat").read_text().rpartition(")")[2].split()
            yield Running(int(entry.name), int(words[1]), int(words[19]), words[0] == "Z")


def descendants(process: int) -> list[int]:
    """Return the ids of a process and of all that came of it."""
    children: dict[int, list[int]] = {}
    for each in running():
        children.setdefault(each.parent, []).append(each.pid)
    found = [process]
    for pid in found:
        found += children.get(pid, [])
    return found


def newest_called(name: str) -> int:
    """Return the id of the newest grandchild of this process that goes by that name."""
    all_there_are = list(running())
    children = {each.pid for each in all_there_are if each.parent == os.getpid()}
    called = [
        each
        for each in all_there_are
        if each.parent in children and not each.zombie and _command(each.pid).startswith(name)
    ]
    return max(called, key=lambda each: (each.began, each.pid)).pid


def processes_with(text: str) -> list[int]:
    """Return the ids of processes with this in their command line or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            if text.encode() in words and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
