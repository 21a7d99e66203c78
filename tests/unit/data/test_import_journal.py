"""The journal of an import: what was noted is found again, whatever ended the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from strandline.data.decode_worker import Decoded, Undecodable
from strandline.data.import_journal import ImportJournal

FOUND = Decoded(60, 40, "image/png", ("first of several frames",), b"\0\xff fingerprint")


def file_of(folder: Path) -> Path:
    return folder / "journal.jsonl"


def test_images_and_refusals_are_found_by_the_next_import(tmp_path: Path) -> None:
    with ImportJournal(tmp_path, "limits") as journal:
        journal.record("a", "sha256:1", FOUND)
        journal.record_refusal("b", Undecodable("the file is empty", "Undecodable"))
    with ImportJournal(tmp_path, "limits") as journal:
        assert journal.lookup("a") == ("sha256:1", FOUND)
        assert journal.lookup("b") == Undecodable("the file is empty", "Undecodable")
        assert journal.lookup("c") is None


def test_the_same_image_twice_in_one_import_is_found_at_once(tmp_path: Path) -> None:
    with ImportJournal(tmp_path, "limits") as journal:
        journal.record("a", "sha256:1", FOUND)
        assert journal.lookup("a") == ("sha256:1", FOUND)


@pytest.mark.parametrize("kept", range(1, 120, 7))
def test_a_journal_cut_off_anywhere_loses_its_last_line_only(tmp_path: Path, kept: int) -> None:
    with ImportJournal(tmp_path, "limits") as journal:
        journal.record("a", "sha256:1", FOUND)
    whole = file_of(tmp_path).read_bytes()
    with ImportJournal(tmp_path, "limits") as journal:
        journal.record("b", "sha256:2", FOUND)
    appended = file_of(tmp_path).read_bytes()[len(whole) :]
    file_of(tmp_path).write_bytes(whole + appended[:kept])
    with ImportJournal(tmp_path, "limits") as journal:
        assert journal.lookup("a") == ("sha256:1", FOUND)
        assert journal.lookup("b") is None
        journal.record("c", "sha256:3", FOUND)
    with ImportJournal(tmp_path, "limits") as journal:
        assert journal.lookup("a") == ("sha256:1", FOUND)
        assert journal.lookup("c") == ("sha256:3", FOUND)


@pytest.mark.parametrize("kept", [0, 1, 30])
def test_a_journal_cut_off_in_its_heading_begins_anew(tmp_path: Path, kept: int) -> None:
    with ImportJournal(tmp_path, "limits") as journal:
        journal.record("a", "sha256:1", FOUND)
    file_of(tmp_path).write_bytes(file_of(tmp_path).read_bytes()[:kept])
    with ImportJournal(tmp_path, "limits") as journal:
        assert journal.lookup("a") is None
        journal.record("c", "sha256:3", FOUND)
    with ImportJournal(tmp_path, "limits") as journal:
        assert journal.lookup("c") == ("sha256:3", FOUND)


def test_what_was_found_under_other_limits_counts_for_nothing(tmp_path: Path) -> None:
    with ImportJournal(tmp_path, "50 megapixels") as journal:
        journal.record_refusal("a", Undecodable("too many pixels", "Undecodable"))
    with ImportJournal(tmp_path, "100 megapixels") as journal:
        assert journal.lookup("a") is None


@pytest.mark.parametrize(
    "line", ["null", "[]", '{"id": "a"}', '{"id": "a", "image": 5}', '{"id": "a", "reason": 1}']
)
def test_a_line_that_says_something_else_is_passed_over(tmp_path: Path, line: str) -> None:
    with ImportJournal(tmp_path, "limits") as journal:
        journal.record("b", "sha256:2", FOUND)
    with file_of(tmp_path).open("a") as file:
        file.write(line + "\n")
    with ImportJournal(tmp_path, "limits") as journal:
        assert journal.lookup("a") is None
        assert journal.lookup("b") == ("sha256:2", FOUND)
