"""The report of a job, as the last line of its log: all that its status has no room for."""

from __future__ import annotations

from strandline.spec.records import ImportReport, TrainingReport, TrainReport

REPORT_MARK = "report: "
"""What that line begins with."""

MOST_REFUSED = 1_000
"""Refused files named there; a longer log would be cut by whoever keeps it."""


def report_line(report: ImportReport | TrainReport | TrainingReport) -> str:
    """Return the line that holds a report."""
    if isinstance(report, ImportReport) and len(report.refused) > MOST_REFUSED:
        left_out = len(report.refused) - MOST_REFUSED
        warning = f"{left_out} more refused files are counted in the Dataset's status only"
        report = report.model_copy(
            update={
                "refused": report.refused[:MOST_REFUSED],
                "warnings": (*report.warnings, warning),
            }
        )
    return REPORT_MARK + report.model_dump_json()
