"""A source of millions of bad rows fills neither the memory nor the report."""

from __future__ import annotations

from strandline.jobs.import_tally import ImportTally, count_refusals
from strandline.spec.records import Refusal
from strandline.spec.v1alpha1 import DatasetStatus

BAD = Refusal(source="table.csv:7", reason="the row names no file", code="BadRow")


def test_refusals_are_listed_up_to_a_bound_and_counted_beyond_it() -> None:
    tally = ImportTally()
    for _ in range(100_003):
        tally.refuse(BAD)
    report = tally.report_without_version("pets")
    assert len(report.refused) == 100_000
    assert report.warnings == ("3 more were refused than are listed",)
    assert tally.done == 100_003
    assert "(and 100,002 more)" in tally.why_empty("table.csv")


def test_warnings_are_listed_up_to_a_bound() -> None:
    tally = ImportTally()
    for number in range(1000):
        tally.warn(f"warning {number}")
    assert tally.all_warnings()[-1] == "warning 199"


def test_an_empty_source_is_told_from_one_in_which_all_was_refused() -> None:
    tally = ImportTally()
    assert tally.why_empty("pets") == "no images were found in pets"
    tally.refuse(BAD)
    assert tally.why_empty("pets").endswith("table.csv:7: the row names no file")


def test_refusals_are_counted_by_code_as_a_status_holds_them() -> None:
    refused = [
        Refusal(source="b.png", reason="It ends too early.", code="Truncated"),
        Refusal(source="a.txt", reason="It is no image.", code="NoImage"),
        Refusal(source="c" * 2000, reason="It ends too early.", code="Truncated"),
    ]
    counted = count_refusals(refused)
    assert [(each["reason"], each["count"], each["example"]) for each in counted] == [
        ("Truncated", 2, "b.png"),
        ("NoImage", 1, "a.txt"),
    ]
    assert len(DatasetStatus.model_validate({"refusals": counted}).refusals) == 2
