"""Every file of the hostile corpus gets what it deserves, within bounded memory.

The corpus states for each file how many pictures a correct importer keeps. All of them
are imported by one process, as the public API does it, while its memory is watched.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.shared_data, pytest.mark.slow]

# Of the importing process and its decoding workers together, above what they need for an
# ordinary picture; the bombs of the corpus expand to 300 to 600 MB each.
MOST_EXTRA_BYTES = 200 * 1024 * 1024
IMPORT_EACH = """
import json, sys
import strandline
from strandline.spec.errors import EmptyImportError, StrandlineError

for number, line in enumerate(sys.stdin):
    answer = {"raised": None, "items": 0, "refused": []}
    report = None
    try:
        report = strandline.import_dataset(f"d{number}", line.rstrip("\\n"), workers=2)
    except EmptyImportError as error:
        report, answer["raised"] = error.report, str(error)
    except StrandlineError as error:
        answer["raised"] = str(error)
    if report is not None:
        answer["items"] = report.items
        answer["refused"] = [[each.source, each.reason] for each in report.refused]
    print(json.dumps(answer), flush=True)
"""


class Importer:
    """A process that imports one source after the other, and what it takes."""

    def __init__(self, home: Path, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", IMPORT_EACH],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "STRANDLINE_HOME": str(home)},
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def run(self, source: Path) -> tuple[dict[str, Any], int]:
        """Return the answer, and the most memory the processes had meanwhile, in bytes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(os.fsencode(source) + b"\n")
        self._process.stdin.flush()
        most, line = 0, b""
        while not line.endswith(b"\n"):
            assert self._process.poll() is None, self.close()
            most = max(most, memory_of_tree(self._process.pid))
            line += self._process.stdout.readline() or b""
            time.sleep(0.005)
        answer: dict[str, Any] = json.loads(line)
        return answer, most

    def close(self) -> str:
        """End the process; return what it wrote to stderr."""
        if self._process.stdin is None or self._process.stdin.closed:
            return ""
        return self._process.communicate()[1].decode()


@contextmanager
def running_importer(home: Path, folder: Path) -> Iterator[Importer]:
    importer = Importer(home, folder)
    try:
        yield importer
    finally:
        importer.close()


def memory_of_tree(pid: int) -> int:
    """Return the bytes that the process and its children hold for themselves."""
    total = 0
    for each in (pid, *children_of(pid)):
        try:
            words = Path(f"/proc/{each}/statm").read_text().split()
        except OSError:
            continue  # it ended meanwhile
        total += (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")
    return total


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_each_file_of_the_corpus_gets_what_its_table_asks(
    shared_data: Path, tmp_path: Path
) -> None:
    corpus = shared_data / "hostile"
    table = (corpus / "expected.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    home, work = tmp_path / "in" / "home", tmp_path / "in" / "work"
    work.mkdir(parents=True)
    before = listing(corpus)
    with running_importer(home, work) as importer:
        importer.run(corpus / "images" / "good-red.jpg")
        _, ordinary = importer.run(corpus / "images" / "good-green.jpg")
        answers = [importer.run(corpus / row["file"]) for row in rows]
        noise = importer.close()

    faults, extra = [], 0
    for row, (answer, most) in zip(rows, answers, strict=True):
        extra = max(extra, most - ordinary)
        if not int(row["min_items"]) <= answer["items"] <= int(row["max_items"]):
            faults.append(f"{row['file']}: {answer} instead of {row['expected']}")
        told = answer["items"] or answer["raised"]
        if not told or not all(reason.strip() for _, reason in answer["refused"]):
            faults.append(f"{row['file']}: no reason: {answer}")
        if most - ordinary > MOST_EXTRA_BYTES:
            faults.append(f"{row['file']}: {(most - ordinary) / 1e6:.0f} MB more")
    print(f"{len(rows)} files, at most {extra / 1e6:.0f} MB above {ordinary / 1e6:.0f} MB")
    assert faults == []
    assert noise == ""
    assert listing(corpus) == before
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["home", "work"]
    assert list(work.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
